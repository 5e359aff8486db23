"""The assistant of a chaos run: it shows its model the latest 20 exchanges, and makes no call but for turns.

So every answer can be held to its past, and every call to its turn.
"""

from forebay.workers.assistants import Assistant
from forebay.workers.conversations.window import Window

assistant = Assistant(window=Window(exchanges=20, block=1, summarise=False))
