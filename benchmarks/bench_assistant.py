"""An assistant with all that a turn may meet but tools: FAQ, people, specialists, complexity, redaction, a window."""

from forebay.rehearsal.shop.assistant import assistant as shop
from forebay.workers.assistants import Assistant, HandOff, Specialist

MODEL = "claude-haiku-4-5"

assistant = Assistant(
    instructions="You are the customer assistant of an online shop. " * 7,
    model=MODEL,
    models={"complex": MODEL, "reasoning": MODEL},
    faq=shop.faq,
    specialists=tuple(Specialist(name=one.name, instructions="", intents=one.intents) for one in shop.specialists),
    hand_off=HandOff(by_model=False),
)
