"""Postal addresses by rule. Chinese ones from a numbered road or building outwards; English ones from the house number on."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .personal_data import PersonalData

_HAN = "一-鿿〇"
_NUM = r"(?:[0-9]{1,5}[A-Za-z]?|[A-Za-z][0-9]{0,3}|[一二三四五六七八九十百零]{1,5})"
_UNIT = r"(?:号楼|号院|号|栋|幢|座|单元|室|户|弄|楼|层|组|队)"
_HOME = r"(?:小区|花园|家园|公寓|大厦|广场|中心|苑|园|府|湾|庭|城|里)"
_CORE = re.compile(
    r"(?=[路街大胡巷弄村小花家公广中苑园府湾庭城里区县市0-9A-Za-z一二三四五六七八九十百零])"
    rf"(?:(?:路|街|大道|胡同|巷|弄)(?:[东西南北中]?[一二三四五]?[路街段])?[ ,，]?{_NUM}(?:-[0-9]{{1,4}})?"
    r"(?:号楼|号院|号|弄|巷|栋|幢)"
    rf"|村[ ]?{_NUM}(?:号|组|队|栋)"
    rf"|{_HOME}[ ]?{_NUM}(?:号楼|号院|栋|幢|座|单元|室)"
    rf"|{_HOME}[ ]?[0-9]{{1,3}}(?:-[0-9]{{1,4}}){{1,3}}(?![0-9-])"
    rf"|(?<![A-Za-z0-9]){_NUM}(?:号楼|栋|幢)[ ,，]?{_NUM}(?:单元|座|室|户|楼|层|门)?(?![0-9年月日])"
    rf"|[区县市][{_HAN}]{{2,6}}?(?:路|街道?|大道|{_HOME})(?![{_HAN}]{{0,2}}[吗呢有]))"
)
"""Where an address is certain: a road, village, estate or building with its number, or a road right after its district."""
_ON = re.compile(
    rf"(?:[ ,，]?{_NUM}(?:-[0-9]{{1,4}})?{_UNIT}|[{_HAN}A-Za-z]{{1,14}}?{_NUM}{_UNIT}"
    rf"|[{_HAN}]{{1,12}}?{_HOME}(?:[0-9]{{1,3}}(?:-[0-9]{{1,4}}){{1,2}})?"
    r"|(?<=[号栋幢座元楼层])[ -]?[0-9]{2,4}[A-Za-z]?(?![0-9年月日元块个件])|-[0-9]{1,4})"
)
_MOST_ON, _FARTHEST = 8, 40
"""Pieces an address may go on for after its core; characters it may begin before it."""

_BACK = re.compile(rf"(?:[{_HAN}A-Za-z·]|(?<=[省市区县镇]) )*$")
_PROVINCE = re.compile(
    "(?:北京|上海|天津|重庆)市?|(?:河北|山西|辽宁|吉林|黑龙江|江苏|浙江|安徽|福建|江西|山东|河南|湖北|湖南|广东|海南|四川|贵州|云南|陕西|甘肃"
    "|青海|台湾)省?|(?:内蒙古|广西|西藏|宁夏|新疆)(?:维吾尔|壮族|回族)?(?:自治区)?|香港|澳门"
)
_NUMBER = re.compile("[0-9一二三四五六七八九十百]")
_LEVEL = re.compile("[市区县]")
_LEADING = re.compile(
    r".*(?:[寄送发放改搬换回退]到|改[成为]|地址[是为写]?|住在?|位于|[寄发]往|[寄送]给?|家在|放在|到|在|是|为(?!民)|写|请|麻烦|帮我|把|给|我家|去)"
)
_LOCAL = re.compile(rf"(?:[{_HAN}]{{2,7}}(?:省|自治区|市|州)|北京|上海|天津|重庆)[{_HAN}]{{1,7}}[市区县]")

_NAME = r"(?:[A-Za-z][A-Za-z'’]{0,20}\.?|[0-9]{1,3}(?:st|nd|rd|th))"
_STRONG = r"(?i:street|avenue|road|lane|drive|boulevard|highway|parkway|ave|blvd|pkwy|hwy|rd|ln|st)"
_WEAK = (
    r"(?:St|Dr|Way|Place|Pl|Court|Ct|Close|Row|Hill|Crescent"
    r"|Square|Sq|Gardens|Terrace|Circle|Cir|Loop|Park|Walk|Yard|Mews|Grove|Quay|Wharf)"
)
_ROOM = r"(?i:apartment|apt|unit|suite|ste|flat|floor|fl|room|rm|#)"
_POST = (
    r"(?:[A-Z]{2,3} )?[0-9]{4,5}(?:-[0-9]{4})?(?![0-9A-Za-z])"  # IL 62704, NSW 2000
    r"|[A-Z]{1,2}[0-9][A-Z0-9]? ?[0-9][A-Z]{2}(?![A-Za-z0-9])"  # NW1 6XE
    r"|(?:[A-Z]{2} )?[A-Z][0-9][A-Z] ?[0-9][A-Z][0-9](?![A-Za-z0-9])"  # ON M5H 2N2
)
_CITY = r"[A-Z][A-Za-z'’-]{1,20}(?![A-Za-z0-9])(?: [A-Z][A-Za-z'’-]{1,20}(?![A-Za-z0-9])){0,2}"
_PLACE = rf"(?:,? (?:{_CITY},? )?(?:{_POST})|, {_CITY}(?=$|[.!?\n;,])(?:, [A-Z]{{2}}(?![A-Za-z]))?)?"
_STREET = re.compile(
    r"[0-9](?<![A-Za-z0-9#$.,:/-].)[0-9]{0,4}(?:-[0-9]{1,4})?[A-Za-z]? "
    rf"(?P<names>(?:{_NAME} ){{0,3}}?)(?:(?P<strong>{_STRONG})|{_WEAK})(?![A-Za-z0-9'’])\.?"
    rf"(?: (?:{_STRONG}|{_WEAK})(?![A-Za-z0-9'’]))?(?: of the [A-Z][a-z]{{2,15}})?"
    rf"(?:,? (?:N|S|E|W|NE|NW|SE|SW)(?![A-Za-z0-9]))?"
    rf"(?:,? {_ROOM}\.? ?#?[0-9]{{1,5}}[A-Za-z]?(?![A-Za-z0-9]))?{_PLACE}"
)
_ROOM_BEFORE = re.compile(r"(?<![A-Za-z])(?:flat|apt|unit|suite|apartment)\.? #?[0-9]{1,4}[A-Za-z]?, $", re.IGNORECASE)
_BOX = re.compile(rf"[Pp](?<![A-Za-z].)\.? ?[Oo]\.? [Bb]ox [0-9]{{1,6}}{_PLACE}")
_NO_NAMES = frozenset(
    """a an the this that my your our his her their its in on at of for per to from by with and or is are was i we you he she
    it day days hour hours minute minutes week weeks month months year years item items piece pieces box boxes times time
    more things units people feet foot miles mile km blocks block down off across""".split()  # noqa: SIM905 - a hundred quotes
)


def find_addresses(text: str) -> Iterator[PersonalData]:
    """Chinese, then English."""
    if not text.isascii():
        yield from _chinese(text)
    yield from _english(text)


def _chinese(text: str) -> Iterator[PersonalData]:
    end = 0
    while core := _CORE.search(text, end):
        start, before = _beginning(text, core.start(), end), end
        end = core.end()
        for _ in range(_MOST_ON):
            on = _ON.match(text, end)
            if not on:
                break
            end = on.end()
        if _NUMBER.search(text, core.start(), end) or _LOCAL.search(text, max(start, before), end):
            yield PersonalData(start, end, "ADDRESS")


def _beginning(text: str, core: int, floor: int) -> int:
    """Where the address begins: at its province, after the word that leads to it, or with the run of Chinese."""
    floor = max(floor, core - _FARTHEST)
    if floor == core:
        return core
    run = _BACK.search(text[floor:core])
    start = floor + run.start() if run else core
    province = _PROVINCE.search(text, start, core)
    if province and not _LEVEL.search(text, start, province.start()):  # 青岛市香港中路 begins before 香港
        return province.start()
    leading = _LEADING.match(text, start, core)
    return leading.end() if leading else start


def _english(text: str) -> Iterator[PersonalData]:
    for street in _STREET.finditer(text):
        start, names = street.start(), street["names"].split()
        if (names or " of the " in street[0]) and _is_street(names, street["strong"] or ""):
            room = _ROOM_BEFORE.search(text[max(0, start - 22) : start])
            yield PersonalData(start - len(room[0]) if room else start, street.end(), "ADDRESS")
    for box in _BOX.finditer(text):
        yield PersonalData(*box.span(), "ADDRESS")


def _is_street(names: list[str], strong: str) -> bool:
    """``12 Main St`` and ``45 oak street`` are; ``2 days down the road`` and ``4 times in a Row`` are not."""
    if any(name.lower() in _NO_NAMES for name in names):
        return False
    return any(name[0].isupper() or name[0].isdigit() for name in names) or len(strong) > 3
