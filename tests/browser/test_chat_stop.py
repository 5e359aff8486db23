"""The chat page while somebody waits: stopping, writing again, a second tab, a person's answer, thumbs."""

from __future__ import annotations

import pytest
from playwright.async_api import Locator, Page, expect

from .conftest import OpenPage
from .stub_gateway import Refusal, StubGateway, Turn
from .test_chat_page import CONTRAST, NAMELESS, asked, field, opened, say, words

STOP = "Stop the answer"


def stop(page: Page) -> Locator:
    return page.get_by_role("button", name=STOP)


async def again(page: Page, gateway: StubGateway, text: str) -> Turn:
    await say(page, text)
    return await gateway.turn()


# Stop


async def test_an_answer_is_stopped_and_what_was_said_stays(page: Page, gateway: StubGateway) -> None:
    await opened(page, gateway)
    await expect(stop(page)).to_be_hidden()
    turn = await again(page, gateway, "Tell me all")
    turn.stream("All of ", "it ")
    await expect(words(page)).to_have_text("All of it")
    await stop(page).focus()
    await page.keyboard.press("Enter")
    await gateway.until(lambda: gateway.cancels == [turn.turn_id])
    await expect(stop(page)).to_be_hidden()
    await expect(field(page)).to_be_focused()
    await expect(page.locator("#queue")).to_have_text("Stopping…")
    turn.done("All of it", outcome="cancelled")
    await expect(words(page)).to_have_text("Assistant: All of it")
    await expect(page.locator(".nothing")).to_contain_text("Stopped.")
    await expect(page.locator(".thumb")).to_have_count(0)
    await page.get_by_role("button", name="Send again").click()
    assert (await gateway.turn()).text == "Tell me all"
    await expect(stop(page)).to_be_visible()


async def test_stop_takes_back_all_that_waits_but_not_what_was_agreed_to(page: Page, gateway: StubGateway) -> None:
    turn = await asked(page, gateway, "Cancel my order")
    turn.ask("Cancel order 1001")
    await page.get_by_role("button", name="Agree").click()
    confirmed = await gateway.turn()
    await expect(stop(page)).to_be_hidden()
    waiting = [await again(page, gateway, text) for text in ("And?", "Hello??")]
    await stop(page).click()
    await gateway.until(lambda: gateway.cancels == [turn.turn_id for turn in waiting])
    confirmed.done("Order 1001 is cancelled.")
    waiting[0].done("", outcome="cancelled")
    waiting[1].done("Too late to stop.")
    await expect(words(page)).to_have_text("Assistant: Too late to stop.")
    await expect(page.locator(".nothing")).to_have_count(1)


async def test_a_turn_that_was_answered_in_the_meantime_shows_its_answer(page: Page, gateway: StubGateway) -> None:
    turn = await asked(page, gateway)
    turn.reply = {"turn_id": turn.turn_id, "outcome": "answered", "text": "Here it is"}
    await stop(page).click()
    await expect(words(page)).to_have_text("Assistant: Here it is")


@pytest.mark.usefixtures("network_may_fail")
async def test_what_is_not_sent_yet_is_not_sent_any_more(page: Page, gateway: StubGateway) -> None:
    await opened(page, gateway)
    gateway.post_refusals.append(Refusal(503, "busy", retry_after_s=30))
    await say(page, "Hello")
    await expect(page.locator(".note")).to_contain_text("Very many people are asking")
    await stop(page).click()
    await expect(page.locator(".note")).to_have_text("Taken back")
    turn = await again(page, gateway, "Goodbye")
    assert turn.text == "Goodbye"
    assert [post.body["text"] for post in gateway.posts] == ["Hello", "Goodbye"]
    assert gateway.cancels == [gateway.posts[0].body["turn_id"]], "nobody knows whether it was taken"


# Writing again


async def test_one_answer_stands_under_what_was_merged(page: Page, gateway: StubGateway) -> None:
    first = await asked(page, gateway, "Where is my parcel?")
    first.queued(5, 20.0)
    second = await again(page, gateway, "Hello??")
    assert {post.body["when_busy"] for post in gateway.posts} == {"merge"}
    first.done("", outcome="merged", merged_into=second.turn_id)
    second.done("It comes tomorrow.")
    await expect(page.locator(".words")).to_have_text("Assistant: It comes tomorrow.")
    await expect(page.locator(".bubble")).to_have_count(2)
    await expect(page.locator(".pending, .nothing")).to_have_count(0)
    await expect(stop(page)).to_be_hidden()
    gap = "node => node.nextElementSibling.getBoundingClientRect().top - node.getBoundingClientRect().bottom"
    assert await page.locator(".turn.merged").evaluate(gap) < 12, "the two belong together"
    await page.reload()
    await expect(page.locator(".words")).to_have_text("Assistant: It comes tomorrow.")


# Another tab, another device, and a person


async def test_another_device_shows_what_was_said(open_page: OpenPage, gateway: StubGateway) -> None:
    at = "2026-11-29T08:00:00Z"
    gateway.history = [
        {"turn_id": "t-1", "at": at, "text": "Where is it?", "answer": "On its **way**."},
        {"message_id": "m-1", "at": at, "name": "Ann", "text": "I have looked."},
        {"turn_id": None, "at": None, "text": "Older than ids", "answer": "x"},
    ]
    page = await open_page()
    await opened(page, gateway)
    await expect(page.locator(".words")).to_have_text(["Assistant: On its way.", "Ann: I have looked."])
    await expect(page.locator(".bubble")).to_have_text("You: Where is it?")
    await expect(page.locator("#greeting")).to_be_hidden()
    gateway.publish("done", {"turn_id": "t-1", "reply": {"outcome": "answered", "text": "Twice"}}, kept=True)
    turn = await again(page, gateway, "And now?")
    turn.done("Here.")
    await expect(page.locator(".words")).to_have_count(3)
    await expect(words(page)).to_have_text("Assistant: Here.")


async def test_what_another_tab_sends_is_shown_with_its_answer(page: Page, gateway: StubGateway) -> None:
    await opened(page, gateway)
    gateway.publish("turn", {"turn_id": "t-9", "text": "From the phone", "user_id": "u-1"}, kept=True)
    await expect(page.locator(".bubble")).to_have_text("You: From the phone")
    await expect(stop(page)).to_be_visible()
    gateway.publish("done", {"turn_id": "t-9", "reply": {"outcome": "answered", "text": "Yes"}}, kept=True)
    gateway.again(-2)
    await expect(words(page)).to_have_text("Assistant: Yes")
    await expect(page.locator(".turn")).to_have_count(1)


async def test_a_decision_of_another_tab_is_shown(page: Page, gateway: StubGateway) -> None:
    turn = await asked(page, gateway, "Cancel it")
    turn.ask("Cancel order 1001", action_id="a-7")
    await expect(page.get_by_role("button", name="Agree")).to_be_enabled()
    told = {"turn_id": "t-9", "confirm": {"action_id": "a-7", "accept": False}}
    gateway.publish("turn", dict(told), kept=True)
    await expect(page.get_by_role("button", name="Decline")).to_have_attribute("aria-pressed", "true")
    await expect(page.get_by_role("button", name="Agree")).to_be_disabled()
    await expect(page.locator(".bubble").last).to_have_text("You: Declined")


async def test_a_person_writes(page: Page, gateway: StubGateway) -> None:
    turn = await asked(page, gateway, "I want to talk to a human")
    turn.done("A colleague will write to you here.", outcome="handed_off")
    said = {"message_id": "m-1", "name": "Ann", "text": "Hello, this is **Ann**.", "at": "2026-11-29T08:00:00Z"}
    gateway.publish("message", dict(said), kept=True)
    gateway.again()
    gateway.publish("message", {**said, "message_id": "m-2", "name": "", "text": "Still here?"}, kept=True)
    await expect(page.locator(".who")).to_have_text(["Ann", "A colleague"])
    await expect(page.locator(".words").nth(1)).to_have_text("Ann: Hello, this is Ann.")
    await expect(page.locator(".words strong")).to_have_text("Ann")
    await expect(page.locator(".words").last).to_have_text("A colleague: Still here?")
    await expect(page.locator(".thumb")).to_have_count(0)
    await page.reload()
    await expect(page.locator(".who")).to_have_text(["Ann", "A colleague"])


# Thumbs


async def test_an_answer_is_rated_and_a_word_may_follow(page: Page, gateway: StubGateway) -> None:
    turn = await asked(page, gateway)
    await expect(page.locator(".thumb")).to_have_count(0)
    turn.done("Yes.")
    group = page.get_by_role("group", name="Rate this answer")
    bad = group.get_by_role("button", name="Bad answer")
    await bad.focus()
    await page.keyboard.press("Enter")
    await gateway.until(lambda: gateway.ratings == [(turn.turn_id, {"rating": -1})])
    await expect(bad).to_have_attribute("aria-pressed", "true")
    await expect(bad).to_be_focused()
    remark = page.get_by_label("Tell us why, if you like")
    await page.keyboard.press("Tab")
    await expect(remark).to_be_focused()
    await remark.fill("Wrong size")
    await page.keyboard.press("Enter")
    await gateway.until(lambda: gateway.ratings[1:] == [(turn.turn_id, {"rating": -1, "text": "Wrong size"})])
    await expect(group).to_contain_text("Thank you.")
    await expect(remark).to_have_count(0)
    await group.get_by_role("button", name="Good answer").click()
    await gateway.until(lambda: gateway.ratings[-1] == (turn.turn_id, {"rating": 1}))
    await expect(bad).to_have_attribute("aria-pressed", "false")
    await page.reload()
    await expect(group.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "true")


@pytest.mark.usefixtures("network_may_fail")
async def test_a_rating_that_was_not_taken_says_so(page: Page, gateway: StubGateway) -> None:
    turn = await asked(page, gateway)
    turn.done("Yes.")
    gateway.rating_refusals.append(Refusal(503, "kafka_away"))
    await page.get_by_role("button", name="Good answer").click()
    await expect(page.locator(".rate .bad")).to_have_text("Not sent. Please try again.")
    await expect(page.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "false")
    assert gateway.ratings == []


# For everyone


async def one_of_each(page: Page, gateway: StubGateway) -> None:
    stopped = await asked(page, gateway, "Tell me everything about headphones")
    stopped.done("There are three kinds of", outcome="cancelled")
    first = await again(page, gateway, "Where is my parcel?")
    second = await again(page, gateway, "Hello??")
    first.done("", outcome="merged", merged_into=second.turn_id)
    second.done("It comes **tomorrow** between nine and noon.")
    await page.get_by_role("button", name="Bad answer").click()
    said = {
        "message_id": "m-1",
        "name": "Ann",
        "text": "Hello, this is Ann. I have looked.",
        "at": "2026-11-29T08:00:00Z",
    }
    gateway.publish("message", dict(said), kept=True)
    waiting = await again(page, gateway, "Thank you! And the other one?")
    waiting.stream("The other one ")
    await expect(page.locator(".live")).to_have_text("The other one")
    await expect(page.locator(".remark")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_all_of_it_has_a_name_and_contrast(open_page: OpenPage, gateway: StubGateway, scheme: str) -> None:
    page = await open_page(color_scheme=scheme)
    await one_of_each(page, gateway)
    found = await page.evaluate(CONTRAST)
    assert (found["seen"] >= 15, found["poor"]) == (True, [])
    assert await page.evaluate(NAMELESS) == []


async def test_on_a_narrow_phone_it_all_fits(open_page: OpenPage, gateway: StubGateway) -> None:
    page = await open_page(viewport={"width": 320, "height": 568}, has_touch=True, is_mobile=True)
    await one_of_each(page, gateway)
    wide = "() => document.scrollingElement.scrollWidth > innerWidth || document.getElementById('log').scrollWidth > innerWidth"
    assert not await page.evaluate(wide)
    small = await page.locator("button:visible, input:visible").evaluate_all(
        "all => all.filter((node) => node.getBoundingClientRect().height < 24).map((node) => node.outerHTML)"
    )
    assert small == []
