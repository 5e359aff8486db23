"""The command line: every command, each in the file of its name; what went wrong is said in one line."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import NoReturn

import typer

from .ask import ask
from .assistant import assistant
from .broker import broker
from .cancel import cancel
from .command import end, read_dotenv
from .contract import contract
from .costs import costs
from .deliver import deliver
from .demo import demo
from .dlq import dlq
from .erase import erase
from .gateway import gateway
from .handoffs import handoffs
from .model_api import model_api
from .plan import plan
from .rehearse import rehearse
from .status import status
from .token import token
from .topics import topics
from .worker import worker

app = typer.Typer(
    name="forebay",
    help="Peak-load buffering for LLM chat on Kafka: nothing lost, doubled or reordered.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(demo)
app.command()(broker)
app.command("model-api")(model_api)
app.add_typer(topics, name="topics")
app.add_typer(assistant, name="assistant")
app.add_typer(handoffs, name="handoffs")
app.add_typer(dlq, name="dlq")
app.add_typer(token, name="token")
for command in (worker, gateway, deliver, ask, erase, cancel, costs, status, plan, rehearse, contract):
    app.command()(command)


def main() -> NoReturn:
    """Runs the command line. Exit status: 0 done, 1 failed, 2 wrong use or settings, 130 interrupted."""
    try:
        read_dotenv(Path(".env"))
        # aiokafka logs every retry of every connection; what a person must know, the commands say themselves.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        app(standalone_mode=True)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        end(error)
    sys.exit(0)
