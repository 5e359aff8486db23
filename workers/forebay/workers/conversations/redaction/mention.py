"""Mentions: what the words before a number say it is. An order number may look like a card or a phone."""

from __future__ import annotations

import re

_REACH = 32
"""Characters looked at before a number."""

_ORDER = tuple(
    """
    订单 单号 运单 快递单 物流单 工单 交易 流水 发票 税号 货号 商品 产品 型号 条码 条形码 序列号 批次 编号 编码 代码
    券码 券号 优惠码 取件码 提货码
    order tracking invoice ref reference transaction ticket case serial s/n imei isbn ean barcode sku asin item part po batch
    waybill shipment parcel booking coupon code
    """.split()  # noqa: SIM905 - fifty pairs of quotes
)
_PHONE = tuple(
    "电话 手机号 座机 固话 传真 tel telephone phone mobile cell call text whatsapp fax ring sms".split()  # noqa: SIM905
)
_BETWEEN = tuple("号码 编号 号 码 单 是 为 number num no nr id is was me us at on".split())  # noqa: SIM905
"""What may stand between such a word and the number."""
_MARKS = " :：#=(.-\0"
_ORDER_AFTER = re.compile(
    r" ?(?:[这那](?:个|笔|条)?(?:订单|单|快递|物流|运单)|(?:is|was) (?:my|the|an?) (?:order|tracking|invoice|serial))",
    re.IGNORECASE,
)


def of_an_order(text: str, start: int, end: int) -> bool:
    """Whether the number at ``text[start:end]`` is called that of an order, parcel, product or the like."""
    return _follows(_ORDER, text, start) or _ORDER_AFTER.match(text, end) is not None


def of_a_phone(text: str, start: int) -> bool:
    """Whether the number that begins here is called a phone's."""
    return _follows(_PHONE, text, start)


def _follows(words: tuple[str, ...], text: str, start: int) -> bool:
    """Whether one of the words comes right before ``start``, but for marks and words such as "number is"."""
    before = text[max(0, start - _REACH) : start].lower().rstrip(_MARKS)
    while before:
        if before.endswith(words):
            word = max(filter(before.endswith, words), key=len)
            ahead = before[: -len(word)][-1:]
            return not (word.isascii() and ahead.isascii() and ahead.isalpha())  # "border" is no order
        if not before.endswith(_BETWEEN):
            return False
        before = before[: -max(len(word) for word in _BETWEEN if before.endswith(word))].rstrip(_MARKS)
    return False
