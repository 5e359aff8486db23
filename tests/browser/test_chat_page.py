"""The chat page in a real browser: no word lost or doubled, nothing run that was only said, usable by everyone."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import FrameLocator, Locator, Page, expect

from .conftest import OpenPage
from .stub_gateway import Refusal, StubGateway, Turn

SENTENCE = ["Yes, ", "**SKU001** is in stock: ", "forty-two ", "pieces, ", "sent ", "today."]
WHOLE = "Yes, SKU001 is in stock: forty-two pieces, sent today."

HOSTILE = """<script>window.hit = 1</script><img src=x onerror="window.hit = 2">
[harmless](javascript:window.hit=3) [data](data:text/html,<script>window.hit=4</script>) [tab](java\tscript:window.hit=5)
[quote](https://shop.example/"onmouseover="window.hit=6) <a href="javascript:window.hit=7">x</a>

```
</code><script>window.hit = 8</script>
```

- <svg onload="window.hit = 9">
- **<iframe srcdoc="<script>parent.hit = 10</script>">**"""


def field(page: Page | FrameLocator) -> Locator:
    return page.locator("textarea")


async def say(page: Page | FrameLocator, text: str) -> None:
    await field(page).fill(text)
    await field(page).press("Enter")


async def opened(page: Page, gateway: StubGateway, *, address: str | None = None) -> None:
    await page.goto(address or gateway.chat)
    await gateway.connected()


async def asked(page: Page, gateway: StubGateway, text: str = "Is SKU001 in stock?") -> Turn:
    await opened(page, gateway)
    await say(page, text)
    return await gateway.turn()


def words(page: Page | FrameLocator) -> Locator:
    return page.locator(".words").last


async def shown(page: Page) -> str:
    return str(await words(page).evaluate("node => node.innerText"))


# Streaming


async def test_words_stream_in_and_the_final_reply_replaces_them(page: Page, gateway: StubGateway) -> None:
    turn = await asked(page, gateway)
    asked_for = {"text": "Is SKU001 in stock?", "turn_id": turn.turn_id, "stream": True, "when_busy": "merge"}
    assert turn.post.body == asked_for
    await expect(page.locator(".note")).to_have_text("Sent")

    turn.started()
    await expect(page.locator(".pending")).to_have_text("Typing…")
    turn.stream(*SENTENCE[:3])
    await expect(words(page)).to_have_text("Yes, SKU001 is in stock: forty-two")
    await expect(page.locator(".live strong")).to_have_text("SKU001")
    turn.stream(*SENTENCE[3:])
    await expect(words(page)).to_have_text(WHOLE)
    turn.done("Yes, and *this* is the final word.")
    await expect(words(page)).to_have_text("Assistant: Yes, and this is the final word.")
    await expect(page.locator(".live, .note span")).to_have_count(0)


async def test_after_a_gap_nothing_is_added_until_the_reply_is_whole(page: Page, gateway: StubGateway) -> None:
    turn = await asked(page, gateway)
    turn.stream("One ", "two ")
    turn.delta("four ", sequence=3)
    turn.delta("three ", sequence=2)
    turn.delta("five ", sequence=4)
    other = await second_turn(page, gateway)  # its words come after those of the first
    await expect(page.locator(".words").first).to_have_text("One two")
    turn.done("One two three four five")
    other.done("x")
    await expect(page.locator(".words").first).to_have_text("Assistant: One two three four five")


async def second_turn(page: Page, gateway: StubGateway) -> Turn:
    await say(page, "and another")
    other = await gateway.turn()
    other.delta("I have come")
    await expect(words(page)).to_have_text("I have come")
    return other


async def test_a_restart_drops_what_was_shown(page: Page, gateway: StubGateway) -> None:
    turn = await asked(page, gateway)
    turn.stream("Half an ans")
    await expect(words(page)).to_have_text("Half an ans")
    turn.delta("From ", sequence=0)
    turn.delta("anew", sequence=1)
    await expect(words(page)).to_have_text("From anew")
    turn.delta("All of it, ", sequence=7, restart=True)
    turn.delta("again", sequence=8)
    await expect(words(page)).to_have_text("All of it, again")


async def test_repeats_are_dropped(page: Page, gateway: StubGateway) -> None:
    turn = await asked(page, gateway)
    turn.stream("One ", "two ")
    gateway.again(-1)
    turn.delta("three", sequence=2)
    await expect(words(page)).to_have_text("One two three")
    turn.done("One two three")
    await expect(words(page)).to_have_text("Assistant: One two three")
    gateway.again(-1)
    turn.delta("late", sequence=0)
    other = await second_turn(page, gateway)
    other.done("The end")
    await expect(page.locator(".words")).to_have_count(2)
    await expect(page.locator(".words").first).to_have_text("Assistant: One two three")


async def test_a_turn_of_another_device_is_shown(page: Page, gateway: StubGateway) -> None:
    turn = await asked(page, gateway)
    gateway.publish("delta", {"turn_id": "elsewhere", "sequence": 4, "text": "the end of"}, kept=True)
    gateway.publish("done", {"turn_id": "elsewhere", "reply": {"outcome": "answered", "text": "Whole"}}, kept=True)
    await expect(words(page)).to_have_text("Assistant: Whole")
    turn.done("Mine")
    await expect(page.locator(".words")).to_have_count(2)


# Drops


@pytest.mark.usefixtures("network_may_fail")
async def test_a_drop_in_mid_answer_loses_and_doubles_no_word(page: Page, gateway: StubGateway) -> None:
    turn = await asked(page, gateway)
    for at, text in enumerate(SENTENCE):
        turn.delta(text)
        if at % 2 == 0:
            continue
        position = gateway.here
        await expect(words(page)).to_have_text("".join(SENTENCE[: at + 1]).replace("**", "").strip())
        connections = len(gateway.connects)
        gateway.drop(cut=f'id: 99\nevent: delta\ndata: {{"turn_id": "{turn.turn_id}", "sequ'.encode())
        await gateway.connected(connections + 1)
        assert gateway.connects[-1] == position
    await expect(words(page)).to_have_text(WHOLE)
    assert await shown(page) == WHOLE
    turn.done()
    await expect(words(page)).to_have_text(f"Assistant: {WHOLE}")
    assert len(gateway.posts) == 1


@pytest.mark.usefixtures("network_may_fail")
async def test_what_happened_while_nobody_was_connected_comes_later(page: Page, gateway: StubGateway) -> None:
    turn = await asked(page, gateway)
    turn.stream(*SENTENCE[:2])
    await expect(words(page)).to_contain_text("in stock")
    gateway.event_refusals.extend([Refusal(0), Refusal(503, "kafka_away", retry_after_s=0), Refusal(502)])
    gateway.drop()
    turn.stream(*SENTENCE[2:])
    turn.done()
    await expect(words(page)).to_have_text(f"Assistant: {WHOLE}")
    assert len(set(gateway.connects[1:])) == 1, "every try goes on from the same event"


async def test_a_connection_without_a_sign_of_life_is_given_up(page: Page, gateway: StubGateway) -> None:
    await page.clock.install()
    await opened(page, gateway)
    await page.clock.fast_forward(39_000)
    assert len(gateway.connects) == 1
    await page.clock.fast_forward(2_000)
    await page.clock.fast_forward(10_000)
    await gateway.until(lambda: len(gateway.connects) == 2)


@pytest.mark.usefixtures("network_may_fail")
async def test_back_online_it_reconnects_at_once(page: Page, gateway: StubGateway) -> None:
    turn = await asked(page, gateway)
    turn.stream("Before ")
    await expect(words(page)).to_have_text("Before")
    await page.context.set_offline(True)
    await expect(page.locator("#status")).to_contain_text("You are offline")
    turn.stream("and after")
    turn.done()
    await say(page, "Written in the tunnel")
    await expect(page.locator(".note").last).to_contain_text("You are offline")
    await page.context.set_offline(False)
    await expect(page.locator(".words").first).to_have_text("Assistant: Before and after")
    assert (await gateway.turn()).text == "Written in the tunnel"
    await expect(page.locator("#status")).to_be_hidden()


async def test_a_reload_in_mid_answer_goes_on_where_it_was(page: Page, gateway: StubGateway) -> None:
    turn = await asked(page, gateway)
    turn.stream(*SENTENCE[:3])
    await expect(words(page)).to_have_text("Yes, SKU001 is in stock: forty-two")
    position = gateway.here
    await page.reload()
    await gateway.connected(2)
    assert gateway.connects == [None, position]
    await expect(page.locator(".bubble")).to_have_text("You: Is SKU001 in stock?")
    await expect(words(page)).to_have_text("Yes, SKU001 is in stock: forty-two")
    turn.stream(*SENTENCE[3:])
    await expect(words(page)).to_have_text(WHOLE)
    turn.done()
    await expect(words(page)).to_have_text(f"Assistant: {WHOLE}")
    await page.reload()
    await expect(words(page)).to_have_text(f"Assistant: {WHOLE}")
    await expect(page.locator(".turn")).to_have_count(1)
    assert len(gateway.posts) == 1


async def test_an_older_snapshot_is_as_good_as_the_newest(page: Page, gateway: StubGateway) -> None:
    """A tab that the system killed could not save its last words: they come again."""
    turn = await asked(page, gateway)
    turn.stream(*SENTENCE[:2])
    await expect(words(page)).to_contain_text("in stock")
    await page.evaluate("window.dispatchEvent(new Event('pagehide'))")
    kept: dict[str, str] = await page.evaluate("({...sessionStorage})")
    turn.stream(*SENTENCE[2:5])
    await expect(words(page)).to_contain_text("sent")
    other = await page.context.new_page()
    await other.goto(f"{gateway.origin}/pages/chat.css")
    await other.evaluate(
        "kept => { for (const [name, text] of Object.entries(kept)) sessionStorage[name] = text }", kept
    )
    await other.goto(gateway.chat)
    await expect(words(other)).to_contain_text("sent")
    turn.stream(SENTENCE[5])
    await expect(words(other)).to_have_text(WHOLE)


async def test_a_turn_answered_before_the_first_connection_is_not_missed(page: Page, gateway: StubGateway) -> None:
    held: list[Any] = []

    async def hold(route: Any) -> None:
        if held:
            await route.continue_()
        else:
            held.append(route)

    await page.route("**/events", hold)
    await page.goto(gateway.chat)
    await say(page, "Quick")
    turn = await gateway.turn()
    turn.done("Quicker")
    await expect(words(page)).to_have_text("Assistant: Quicker")
    assert gateway.connects == ["0"]


@pytest.mark.usefixtures("network_may_fail")
async def test_a_position_that_is_gone_costs_no_reply(page: Page, gateway: StubGateway) -> None:
    turn = await asked(page, gateway)
    turn.stream("Half ")
    await expect(words(page)).to_have_text("Half")
    await page.goto("about:blank")
    turn.done("Whole")
    gateway.event_refusals.append(Refusal(400, "invalid"))
    await page.goto(gateway.chat)
    await expect(words(page)).to_have_text("Assistant: Whole")
    await gateway.connected(3)
    assert gateway.connects[-1] is None


# Sending


@pytest.mark.usefixtures("network_may_fail")
async def test_a_retried_post_has_the_same_turn_id(page: Page, gateway: StubGateway) -> None:
    gateway.post_refusals.extend([Refusal(0), Refusal(503, "kafka_away", retry_after_s=0), Refusal(502)])
    turn = await asked(page, gateway)
    await expect(page.locator(".note")).to_have_text("Sent")
    assert [post.body for post in gateway.posts] == [turn.post.body] * 4


@pytest.mark.usefixtures("network_may_fail")
async def test_a_turn_whose_202_was_lost_is_not_doubled(page: Page, gateway: StubGateway) -> None:
    gateway.post_refusals.append(Refusal(0, taken=True))
    turn = await asked(page, gateway)
    turn.done("Answered once")
    await expect(words(page)).to_have_text("Assistant: Answered once")
    await expect(page.locator(".turn")).to_have_count(1)
    assert {post.body["turn_id"] for post in gateway.posts} == {turn.turn_id}


@pytest.mark.usefixtures("network_may_fail")
async def test_turns_keep_their_order_while_the_first_is_retried(page: Page, gateway: StubGateway) -> None:
    gateway.post_refusals.append(Refusal(503, "kafka_away", retry_after_s=1))
    await opened(page, gateway)
    await say(page, "first")
    await say(page, "second")
    assert [(await gateway.turn()).text, (await gateway.turn()).text] == ["first", "second"]


@pytest.mark.usefixtures("network_may_fail")
async def test_a_busy_shop_says_how_long_and_takes_the_turn_on_retry(page: Page, gateway: StubGateway) -> None:
    gateway.post_refusals.append(Refusal(503, "busy", retry_after_s=120, more={"estimated_wait_s": 240.0}))
    await opened(page, gateway)
    await say(page, "Hello?")
    note = page.locator(".note")
    await expect(note).to_contain_text("Very many people are asking just now. It would take about 4 min. Not sent.")
    await note.get_by_role("button", name="Try again").click()
    turn = await gateway.turn()
    await expect(note).to_have_text("Sent")
    assert gateway.posts[0].body["turn_id"] == turn.turn_id


@pytest.mark.usefixtures("network_may_fail")
async def test_a_short_wait_is_waited_for(page: Page, gateway: StubGateway) -> None:
    await page.clock.install()
    gateway.post_refusals.append(Refusal(429, "rate_limited", retry_after_s=20))
    await opened(page, gateway)
    await say(page, "Hello?")
    await expect(page.locator(".note")).to_contain_text("We keep trying.")
    await page.clock.fast_forward(15_000)
    assert len(gateway.posts) == 1
    await page.clock.fast_forward(6_000)
    await gateway.turn()


@pytest.mark.usefixtures("network_may_fail")
async def test_what_was_not_sent_yet_survives_a_reload(page: Page, gateway: StubGateway) -> None:
    gateway.post_refusals.append(Refusal(503, "kafka_away", retry_after_s=50))
    await opened(page, gateway)
    await say(page, "first")
    await say(page, "second")
    await expect(page.locator(".note").first).to_contain_text("We keep trying.")
    await field(page).fill("a draft")
    await page.reload()
    assert [(await gateway.turn()).text, (await gateway.turn()).text] == ["first", "second"]
    assert gateway.posts[0].body == gateway.posts[1].body
    await expect(field(page)).to_have_value("a draft")


@pytest.mark.usefixtures("network_may_fail")
async def test_what_is_refused_for_good_is_not_sent_again(page: Page, gateway: StubGateway) -> None:
    gateway.post_refusals.append(Refusal(400, "invalid"))
    await opened(page, gateway)
    await say(page, "Hello?")
    await expect(page.locator(".note")).to_have_text("Not sent: the message was refused.")
    assert len(gateway.posts) == 1


@pytest.mark.usefixtures("network_may_fail")
async def test_an_expired_token_is_said_clearly(page: Page, gateway: StubGateway) -> None:
    gateway.event_refusals.append(Refusal(401, "unauthorised"))
    gateway.post_refusals.append(Refusal(401, "unauthorised"))
    await page.goto(gateway.chat)
    await expect(page.locator("#status")).to_have_text(re.compile("Your sign-in has expired"))
    await say(page, "Hello?")
    await expect(page.locator(".note")).to_contain_text("Not sent: your sign-in has expired.")


# What a turn comes to


async def test_the_place_in_the_queue(page: Page, gateway: StubGateway) -> None:
    await page.clock.install()
    turn = await asked(page, gateway)
    pending = page.locator(".pending")
    turn.queued(12, 3.4)
    await expect(pending).to_have_text("12 before you, about 3 s")
    await page.clock.fast_forward(5_000)  # a screen reader is not told every change
    await expect(page.locator("#queue")).to_have_text("12 before you, about 3 s")
    turn.queued(3, None)
    await expect(pending).to_have_text("3 before you")
    turn.queued(0, 130)
    await expect(pending).to_have_text("You are next, about 2 min")
    turn.started()
    await expect(pending).to_have_text("Typing…")


@pytest.mark.parametrize(("button", "accept"), [("Agree", True), ("Decline", False)])
async def test_an_action_waits_for_the_users_word(page: Page, gateway: StubGateway, button: str, accept: bool) -> None:
    turn = await asked(page, gateway, "Cancel order 1001")
    turn.ask("Cancel order 1001, 599.00 yuan back", text="Shall I do that?")
    await page.get_by_role("button", name=button, exact=True).click()
    answer = await gateway.turn()
    assert answer.post.path.endswith("/confirm")
    assert answer.post.body == {"action_id": "a-1", "accept": accept, "turn_id": answer.turn_id, "stream": True}
    assert answer.turn_id != turn.turn_id
    for name in ("Agree", "Decline"):
        await expect(page.get_by_role("button", name=name, exact=True)).to_be_disabled()
    await expect(page.locator("[aria-pressed=true]")).to_have_text(button)
    await expect(page.locator(".bubble").last).to_have_text("You: Agreed" if accept else "You: Declined")
    answer.done("Done.")
    await expect(words(page)).to_have_text("Assistant: Done.")
    await page.reload()
    await expect(page.get_by_role("button", name="Agree", exact=True)).to_be_disabled()


async def test_a_summary_is_not_said_twice(page: Page, gateway: StubGateway) -> None:
    turn = await asked(page, gateway, "Cancel order 1001")
    turn.ask("Cancel order 1001?", text="Cancel order 1001?")
    await expect(page.locator(".summary")).to_have_text("Cancel order 1001?")
    await expect(page.locator(".words")).to_have_count(0)


async def test_an_action_expires(page: Page, gateway: StubGateway) -> None:
    await page.clock.install(time="2026-11-21T12:00:00Z")
    turn = await asked(page, gateway, "Cancel order 1001")
    turn.ask("Cancel order 1001", expires_at="2026-11-21T12:05:00Z")
    agree = page.get_by_role("button", name="Agree", exact=True)
    await expect(agree).to_be_enabled()
    await page.clock.fast_forward(301_000)
    await expect(agree).to_be_disabled()
    await expect(page.locator(".late")).to_have_text("The time to decide is over.")


async def test_a_hand_off(page: Page, gateway: StubGateway) -> None:
    turn = await asked(page, gateway, "I want to talk to a human")
    turn.done("A colleague will write to you here.", outcome="handed_off")
    await expect(words(page)).to_contain_text("A colleague will write to you here.")
    await expect(page.locator(".notice")).to_have_text("A colleague takes over from here.")


@pytest.mark.parametrize("outcome", ["failed", "expired"])
async def test_a_turn_that_came_to_nothing_is_sent_again_as_a_new_one(
    page: Page, gateway: StubGateway, outcome: str
) -> None:
    turn = await asked(page, gateway)
    turn.done("Sorry.", outcome=outcome, error={"code": outcome, "message": "internal words"})
    await expect(page.locator("#log")).not_to_contain_text("internal words")
    await page.get_by_role("button", name="Send again").click()
    again = await gateway.turn()
    assert again.text == turn.text
    assert again.turn_id != turn.turn_id


# Nothing that is said is run


async def test_what_is_said_is_never_run(page: Page, gateway: StubGateway) -> None:
    turn = await asked(page, gateway, HOSTILE)
    turn.stream(*(HOSTILE[at : at + 7] for at in range(0, len(HOSTILE), 7)))
    await expect(words(page)).to_contain_text("iframe")
    turn.done(HOSTILE)
    await expect(words(page)).to_contain_text("Assistant:")
    turn = await second_turn(page, gateway)
    turn.ask(HOSTILE, text=HOSTILE)
    await expect(page.locator(".summary")).to_contain_text("<script>")
    await page.reload()
    await expect(page.locator(".summary")).to_contain_text("<script>")

    assert await page.locator(".bubble").first.text_content() == f"You: {HOSTILE}"
    assert await page.locator("#log :is(script, img, svg, iframe, object, style):not(.thumb > svg)").count() == 0
    hrefs = await page.locator("#log a").evaluate_all("links => links.map(link => link.href)")
    assert all(href.startswith("https://shop.example/") for href in hrefs)
    attributes = await page.locator("#log *").evaluate_all("all => all.flatMap(node => node.getAttributeNames())")
    assert [name for name in attributes if name.startswith("on") or name in {"style", "srcdoc", "src"}] == []
    for link in await page.locator("#log a").all():
        await link.hover()
    assert await page.evaluate("[window.hit ?? null, window.violations]") == [None, []]


@pytest_asyncio.fixture
async def rendered(page: Page, gateway: StubGateway) -> AsyncIterator[Any]:
    """What `markdown` makes of a text, as HTML."""
    await opened(page, gateway)

    async def render(text: str) -> str:
        html = await page.evaluate(
            """async text => {
                const { markdown } = await import("/pages/markdown.js");
                const box = document.createElement("div");
                box.append(markdown(text));
                return box.innerHTML;
            }""",
            text,
        )
        return str(html)

    yield render


LINK = 'target="_blank" rel="noopener noreferrer nofollow"'


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("One\ntwo\n\nthree", "<p>One<br>two</p><p>three</p>"),
        ("**bold**, *it*, _it_, `a*b*`", "<p><strong>bold</strong>, <em>it</em>, <em>it</em>, <code>a*b*</code></p>"),
        ("**加粗**的字", "<p><strong>加粗</strong>的字</p>"),
        ("2 * 3 * 4 and snake_case_name and **open", "<p>2 * 3 * 4 and snake_case_name and **open</p>"),
        (r"\*not\*", "<p>*not*</p>"),
        ("- a\n- b\n  - c\n- d", "<ul><li>a</li><li>b<ul><li>c</li></ul></li><li>d</li></ul>"),
        ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
        ("```py\n<b>*x*</b>\n```\nafter", '<pre tabindex="0"><code>&lt;b&gt;*x*&lt;/b&gt;</code></pre><p>after</p>'),
        ("```\nstill stream", '<pre tabindex="0"><code>still stream</code></pre>'),
        ("# Title", '<p class="heading">Title</p>'),
        ("<b>no</b> &amp;", "<p>&lt;b&gt;no&lt;/b&gt; &amp;amp;</p>"),
        ("[x](ftp://a.example)", "<p>[x](ftp://a.example)</p>"),
        ("[x](//a.example)", "<p>[x](//a.example)</p>"),
    ],
)
async def test_markdown(rendered: Any, text: str, html: str) -> None:
    assert await rendered(text) == html


async def test_links_of_markdown(rendered: Any) -> None:
    html = await rendered("See [this](https://shop.example/a). Or https://shop.example/b，好")
    assert re.sub(r' title="[^"]*"', "", html).replace('href="https://shop.example/', 'href="/') == (
        f'<p>See <a href="/a" {LINK}>this</a>. Or <a href="/b" {LINK}>https://shop.example/b</a>，好</p>'
    )


@pytest.mark.parametrize(
    "mark", ["[", "*", "_", "`", "**a ", "[a](", "- ", "> ", "`` ` ", "https://", "#", "\\", "*a_b`c["]
)
async def test_markdown_takes_no_time_for_what_is_made_to_take_it(page: Page, gateway: StubGateway, mark: str) -> None:
    await opened(page, gateway)
    took = await page.evaluate(
        """async text => {
            const { markdown } = await import("/pages/markdown.js");
            const began = performance.now();
            markdown(text);
            return performance.now() - began;
        }""",
        (mark * 40_000)[:40_000],
    )
    assert took < 2_000


# For everyone


async def test_the_languages(open_page: OpenPage, gateway: StubGateway) -> None:
    page = await open_page(locale="zh-CN")
    await opened(page, gateway, address=gateway.origin)
    assert await page.locator("html").get_attribute("lang") == "zh-CN"
    await expect(page.locator("#hello")).to_have_text("您好，有什么可以帮您？")
    await page.locator("#examples button").first.click()
    turn = await gateway.turn()
    assert turn.text == "无线降噪耳机还有货吗？"
    turn.queued(12, 3.4)
    await expect(page.locator(".pending")).to_have_text("前面还有 12 位，约 3 秒")
    await page.get_by_role("button", name="English").click()
    await expect(page.locator(".pending")).to_have_text("12 before you, about 3 s")
    assert await page.locator("html").get_attribute("lang") == "en"
    await page.reload()
    await expect(page.locator(".pending")).to_have_text("12 before you, about 3 s")
    await page.goto(f"{gateway.origin}/chat?lang=zh")
    await expect(page.locator("textarea")).to_have_attribute("placeholder", "输入消息")


async def test_both_languages_say_the_same_things(page: Page, gateway: StubGateway) -> None:
    await opened(page, gateway)
    missing = await page.evaluate(
        """async () => {
            const { WORDS } = await import("/pages/words.js");
            const latin = (text) => typeof text === "string" && !/[\\u4e00-\\u9fff]/.test(text);
            return Object.entries(WORDS.zh).filter(([name, text]) => name !== "code" && latin(text)).map(([name]) => name);
        }"""
    )
    assert missing == []


async def test_by_keyboard_alone(page: Page, gateway: StubGateway) -> None:
    await opened(page, gateway)
    await expect(field(page)).to_be_focused()
    await page.keyboard.type("one")
    await page.keyboard.press("Shift+Enter")
    await page.keyboard.type("two")
    await page.keyboard.press("Enter")
    turn = await gateway.turn()
    assert turn.text == "one\ntwo"
    await expect(field(page)).to_have_value("")
    await expect(field(page)).to_be_focused()
    turn.ask("Cancel order 1001")
    await expect(page.get_by_role("button", name="Agree", exact=True)).to_be_visible()
    for name in ["Decline", "Agree"]:
        await page.keyboard.press("Shift+Tab")
        await expect(page.get_by_role("button", name=name, exact=True)).to_be_focused()
    outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    await page.keyboard.press("Enter")
    assert (await gateway.turn()).post.body["accept"] is True
    await expect(field(page)).to_be_focused()


async def test_enter_that_ends_a_composition_does_not_send(page: Page, gateway: StubGateway) -> None:
    await opened(page, gateway)
    await field(page).fill("nihao")
    for event in ({"isComposing": True}, {"keyCode": 229}):
        init = {"key": "Enter", "bubbles": True, "cancelable": True, **event}
        await field(page).evaluate("(node, init) => node.dispatchEvent(new KeyboardEvent('keydown', init))", init)
    await expect(field(page)).to_have_value("nihao")
    await field(page).press("Enter")
    assert (await gateway.turn()).text == "nihao"
    assert len(gateway.posts) == 1


async def test_a_screen_reader_hears_the_reply_once_and_whole(page: Page, gateway: StubGateway) -> None:
    turn = await asked(page, gateway)
    await expect(page.get_by_role("log")).to_have_attribute("aria-live", "polite")
    await page.evaluate(
        """() => {
            window.heard = [];
            new MutationObserver((changes) => {
                for (const change of changes) for (const node of change.addedNodes) {
                    const element = node.nodeType === 1 ? node : node.parentElement;
                    if (!element.closest("[aria-hidden=true]") && element.textContent) window.heard.push(element.textContent);
                }
            }).observe(document.getElementById("log"), { childList: true, characterData: true, subtree: true });
        }"""
    )
    turn.started()
    for text in SENTENCE:
        turn.delta(text)
        await expect(words(page)).to_contain_text(text.replace("**", "").strip())
    turn.done()
    await expect(words(page)).to_contain_text("Assistant:")
    assert await page.evaluate("window.heard") == [f"Assistant: {WHOLE}"]


async def everything(page: Page, gateway: StubGateway) -> None:
    """A page with one of each."""
    turn = await asked(page, gateway)
    turn.done("Yes: [look](https://shop.example) `SKU001`\n\n- **one**\n\n```\ncode\n```", outcome="handed_off")
    for text, outcome in (("Cancel it", "ask"), ("Fail", "failed"), ("Wait", "queued")):
        await say(page, text)
        turn = await gateway.turn()
        if outcome == "ask":
            turn.ask("Cancel order 1001")
        elif outcome == "failed":
            turn.done("Sorry.", outcome="failed")
        else:
            turn.queued(12, 3.4)
    gateway.post_refusals.append(Refusal(400, "invalid"))
    await say(page, "Refused")
    await expect(page.locator(".bad")).to_be_visible()


# Luminance and contrast as WCAG 2.2 defines them, of every text that is seen, over the first opaque background behind it.
CONTRAST = """() => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const rgba = (color) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const over = (top, under) => [0, 1, 2].map((at) => top[at] * top[3] + under[at] * (1 - top[3])).concat(1);
    const behind = (node) => {
        if (!node) return rgba(getComputedStyle(document.body).backgroundColor);
        const own = rgba(getComputedStyle(node).backgroundColor);
        return own[3] === 1 ? own : over(own, behind(node.parentElement));
    };
    const light = ([r, g, b]) => [r, g, b].map((value) => value / 255)
        .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
        .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
    const ratio = (one, two) => {
        const [dark, bright] = [light(one), light(two)].sort((a, b) => a - b);
        return (bright + 0.05) / (dark + 0.05);
    };
    const poor = [];
    let seen = 0;
    for (const node of document.querySelectorAll("body *")) {
        const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
        const drawn = node.localName === "svg" || node.localName === "textarea";
        if (!(own || drawn) || !node.checkVisibility() || node.closest(".unseen, :disabled")) continue;
        seen += 1;
        const ground = behind(node);
        const colors = [getComputedStyle(node).color];
        if (node.localName === "textarea") colors.push(getComputedStyle(node, "::placeholder").color);
        for (const color of colors) {
            const got = ratio(over(rgba(color), ground), ground);
            if (got < 4.5) poor.push(`${node.localName}.${node.className.baseVal ?? node.className}: ${got.toFixed(2)}`);
        }
    }
    return { seen, poor };
}"""

NAMELESS = """() => [...document.querySelectorAll("button, textarea, input, a, [tabindex], iframe, [role=log]")]
    .filter((node) => node.checkVisibility() && node.localName !== "pre")
    .filter((node) => !(node.getAttribute("aria-label") || node.title || node.textContent).trim())
    .map((node) => node.outerHTML)"""


@pytest.mark.usefixtures("network_may_fail")
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everything_has_a_name_and_contrast(open_page: OpenPage, gateway: StubGateway, scheme: str) -> None:
    page = await open_page(color_scheme=scheme)
    await opened(page, gateway)
    first = await page.evaluate(CONTRAST)
    assert first["seen"] >= 7
    assert first["poor"] == []
    await everything(page, gateway)
    rest = await page.evaluate(CONTRAST)
    assert rest["seen"] >= 20
    assert rest["poor"] == []
    assert await page.evaluate(NAMELESS) == []
    ids = await page.locator("[id]").evaluate_all("all => all.map(node => node.id)")
    assert len(ids) == len(set(ids))


async def test_every_module_is_asked_for_at_once(page: Page, gateway: StubGateway) -> None:
    """Else each level of imports costs a phone one more round trip."""
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url.rpartition("/")[2]))
    await opened(page, gateway)
    preloaded = await page.locator("link[rel=modulepreload]").evaluate_all("all => all.map((link) => link.href)")
    modules = {name for name in loaded if name.endswith(".js")}
    assert {address.rpartition("/")[2] for address in preloaded} | {"chat.js"} == modules


async def test_dark_and_light_differ(open_page: OpenPage, gateway: StubGateway) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        page = await open_page(color_scheme=scheme)
        await page.goto(gateway.chat)
        grounds.add(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2


async def test_nothing_moves_for_those_who_asked_for_that(open_page: OpenPage, gateway: StubGateway) -> None:
    for motion, moves in (("reduce", False), ("no-preference", True)):
        page = await open_page(reduced_motion=motion)
        await opened(page, gateway)
        await say(page, "Hello")
        (await gateway.turn()).started()
        await expect(page.locator(".typing")).to_be_visible()
        assert bool(await page.evaluate("document.getAnimations().length > 0")) is moves


@pytest.mark.usefixtures("network_may_fail")
@pytest.mark.parametrize("language", ["en", "zh"])
async def test_a_narrow_phone_scrolls_in_one_direction(
    open_page: OpenPage, gateway: StubGateway, language: str
) -> None:
    page = await open_page(viewport={"width": 320, "height": 568}, has_touch=True, is_mobile=True)
    await page.goto(f"{gateway.origin}/chat?lang={language}")
    await gateway.connected()
    wide = "() => document.scrollingElement.scrollWidth > innerWidth || document.getElementById('log').scrollWidth > innerWidth"
    assert not await page.evaluate(wide)
    await page.locator("#examples button").first.tap()
    turn = await gateway.turn()
    turn.done(f"https://shop.example/{'x' * 200} {'y' * 300}\n\n```\n{'code ' * 60}\n```")
    await expect(words(page)).to_be_visible()
    await say(page, "z" * 500)
    (await gateway.turn()).ask("Cancel " + "order" * 60)
    await expect(page.locator(".confirmation")).to_be_visible()
    assert not await page.evaluate(wide)
    small = await page.locator("button:visible").evaluate_all(
        "all => all.filter((node) => node.getBoundingClientRect().height < 24).map((node) => node.outerHTML)"
    )
    assert small == []


async def test_who_reads_above_is_not_scrolled_away(page: Page, gateway: StubGateway) -> None:
    turn = await asked(page, gateway)
    turn.done("\n\n".join(f"Line {number}" for number in range(80)))
    log = page.locator("#log")
    await expect(words(page)).to_contain_text("Line 79")
    at_end = "node => node.scrollHeight - node.scrollTop - node.clientHeight < 2"
    assert await log.evaluate(at_end)
    await log.evaluate("node => { node.scrollTop = 0 }")
    latest = page.get_by_role("button", name="Latest message")
    await expect(latest).to_be_visible()
    gateway.publish("done", {"turn_id": "elsewhere", "reply": {"outcome": "answered", "text": "News"}}, kept=True)
    await expect(words(page)).to_contain_text("News")
    assert await log.evaluate("node => node.scrollTop") == 0
    await latest.click()
    await expect(latest).to_be_hidden()
    assert await log.evaluate(at_end)


# Token and conversation


def token(**claims: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{body}.c2ln"


async def test_the_fragment_is_read_and_removed(page: Page, gateway: StubGateway) -> None:
    await opened(page, gateway, address=f"{gateway.chat}#token=t-1&conversation=c-1842")
    assert page.url == gateway.chat
    await say(page, "Hello")
    turn = await gateway.turn()
    assert (turn.post.path, turn.post.authorization) == ("/v1/conversations/c-1842/turns", "Bearer t-1")
    await page.reload()
    await gateway.connected(2)
    await say(page, "Still me")
    turn = await gateway.turn()
    assert (turn.post.path, turn.post.authorization) == ("/v1/conversations/c-1842/turns", "Bearer t-1")


async def test_a_new_conversation_lies_where_the_token_opens_one(page: Page, gateway: StubGateway) -> None:
    await opened(page, gateway, address=f"{gateway.chat}#token={token(conversations=['u-77.*'])}")
    await say(page, "Hello")
    (await gateway.turn()).done("Hi")
    await expect(words(page)).to_be_visible()
    first = gateway.conversation
    await page.get_by_role("button", name="New conversation").click()
    await expect(page.locator("#greeting")).to_be_visible()
    await expect(page.locator(".turn")).to_have_count(0)
    await gateway.connected(2)
    assert gateway.connects[-1] is None
    await say(page, "Hello again")
    await gateway.turn()
    assert first.startswith("u-77.")
    assert gateway.conversation.startswith("u-77.")
    assert gateway.conversation != first


async def test_a_token_of_one_conversation_offers_no_other(page: Page, gateway: StubGateway) -> None:
    await opened(page, gateway, address=f"{gateway.chat}#token={token(conversations=['c-5'])}")
    await expect(page.get_by_role("button", name="New conversation")).to_be_hidden()
    await say(page, "Hello")
    await gateway.turn()
    assert gateway.conversation == "c-5"


# The widget


@pytest_asyncio.fixture
async def shop(page: Page, gateway: StubGateway) -> AsyncIterator[StubGateway]:
    """A shop on an origin of its own, as strict as a policy gets, with styles that would break anything they reach."""
    async with StubGateway() as shop:
        policy = f"default-src 'none'; style-src 'self'; script-src {gateway.origin}; frame-src {gateway.origin}; require-trusted-types-for 'script'"
        shop.extra_pages["shop.css"] = (
            "* { color: lime !important; font-size: 40px !important; position: static; }",
            {},
        )
        html = f"""<!doctype html><html lang="en"><title>Shop</title><link rel="icon" href="data:,">
            <link rel="stylesheet" href="shop.css"><h1>A shop</h1><a href="#x">A link</a>
            <script src="{gateway.origin}/widget.js" data-token="t-1" data-conversation="c-9" data-lang="en"
            data-title="Ask us" async></script>"""
        headers = {"Content-Security-Policy": policy + "; img-src data:", "Referrer-Policy": "no-referrer"}
        shop.extra_pages["shop.html"] = (html, headers)
        await page.goto(f"{shop.origin}/extra/shop.html")
        yield shop


@pytest.mark.usefixtures("shop")
async def test_the_widget_opens_talks_and_closes(page: Page, gateway: StubGateway) -> None:
    button = page.get_by_role("button", name="Open the chat")
    await expect(button).to_have_attribute("aria-expanded", "false")
    assert await button.evaluate("node => getComputedStyle(node).position") == "fixed"
    await button.click()
    frame = page.frame_locator("iframe")
    await expect(frame.locator("h1")).to_have_text("Ask us")
    await expect(frame.locator("h1")).not_to_have_css("color", "rgb(0, 255, 0)")
    await expect(field(frame)).to_be_focused()
    await expect(page.get_by_role("button", name="Close the chat").first).to_have_attribute("aria-expanded", "true")
    await expect(page.get_by_role("dialog", name="Ask us")).to_be_visible()
    await say(frame, "Hello")
    turn = await gateway.turn()
    assert (turn.post.path, turn.post.authorization) == ("/v1/conversations/c-9/turns", "Bearer t-1")
    turn.stream("Hello ", "you")
    await expect(words(frame)).to_have_text("Hello you")

    await page.keyboard.press("Escape")
    await expect(page.locator("dialog")).to_be_hidden()
    await expect(button).to_be_focused()
    turn.done()
    await expect(page.get_by_role("button", name="Open the chat, new reply")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(words(frame)).to_have_text("Assistant: Hello you")
    await expect(field(frame)).to_be_focused()
    await page.evaluate("Forebay.close()")
    await expect(page.locator("dialog")).to_be_hidden()


@pytest.mark.usefixtures("shop", "network_may_fail")
async def test_the_shop_gives_the_widget_a_new_token(page: Page, gateway: StubGateway) -> None:
    gateway.event_refusals.append(Refusal(401, "unauthorised"))
    gateway.post_refusals.append(Refusal(401, "unauthorised"))
    await page.evaluate("window.wanted = 0; addEventListener('forebay:token-wanted', () => { window.wanted += 1 })")
    await page.evaluate("Forebay.open()")
    frame = page.frame_locator("iframe")
    await expect(frame.locator("#status")).to_contain_text("sign-in has expired")
    await say(frame, "Hello")
    await expect(frame.locator(".note")).to_contain_text("Not sent")
    assert await page.evaluate("window.wanted") == 1
    await page.evaluate("Forebay.setToken('t-2')")
    assert (await gateway.turn()).post.authorization == "Bearer t-2"
    await expect(frame.locator("#status")).to_be_hidden()
    await expect(frame.locator(".note")).to_have_text("Sent")


@pytest.mark.usefixtures("shop")
async def test_only_the_page_around_it_may_give_a_token(page: Page, gateway: StubGateway) -> None:
    await page.evaluate("Forebay.open()")
    frame = page.frame_locator("iframe")
    await gateway.connected()
    await field(frame).evaluate("() => window.postMessage({ type: 'forebay:token', token: 'stolen' }, '*')")
    await say(frame, "Hello")
    assert (await gateway.turn()).post.authorization == "Bearer t-1"


@pytest.mark.usefixtures("shop")
async def test_on_a_phone_the_widget_fills_the_screen(page: Page, gateway: StubGateway) -> None:
    await page.set_viewport_size({"width": 320, "height": 568})
    await page.get_by_role("button", name="Open the chat").click()
    await gateway.connected()
    assert await page.locator("dialog").bounding_box() == {"x": 0, "y": 0, "width": 320, "height": 568}
    await page.frame_locator("iframe").get_by_role("button", name="Close the chat").click()
    await expect(page.locator("dialog")).to_be_hidden()
    await expect(page.get_by_role("button", name="Open the chat")).to_be_focused()
