"""Tell a webhook of runs that failed: a block of Prefect's for the address, and an automation that uses it.

    PREFECT_API_URL=http://127.0.0.1:4200/api python -m flows.notifications https://hooks.example.com/T0/B0

Both can be changed on Prefect's pages afterwards; another call replaces them.
"""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import urlsplit

from prefect.blocks.notifications import CustomWebhookNotificationBlock

from flows.api import Api, Ask
from flows.run_page import page_of
from pipeline.commands.guard import guarded, say
from pipeline.errors import UserError, shortened

NAME = "invid-failures"
"""Of the block and of the automation."""
FLOWS = ("process-video", "process-folder", "watch-folder", "train-generator", "train-encoder", "bench")
SUBJECT = "{{ flow_run.name }} failed"


def notify_of_failures(url: str, ask: Ask) -> None:
    """Have every failure of a run sent to `url` as JSON: `text` is the run's name, the reason and a link.

    The address is kept as a secret of the block: the addresses of chat services hold a token.
    Raises UserError for what is no address of the web.
    """
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise UserError(f"'{shortened(url)}' is no address of a webhook; it begins with https:// or http://")
    there = {found["name"]: found["id"] for found in ask("POST", "automations/filter", {})}
    block = CustomWebhookNotificationBlock(
        name=NAME,
        url="{{address}}",
        json_data={"text": "{{subject}}\n{{body}}"},
        headers=None,
        cookies=None,
        secrets={"address": url},  # type: ignore[arg-type]  # becomes a SecretDict
    )
    document: Any = block.save(NAME, overwrite=True)
    if NAME in there:
        ask("DELETE", f"automations/{there[NAME]}", None)
    ask("POST", "automations/", automation(str(document)))


def automation(block: str) -> dict[str, Any]:
    """The automation that sends each failure of a run of ours through a block."""
    body = f"{{{{ flow_run.state.message }}}}\n{page_of('{{ flow_run.id }}')}"
    return {
        "name": NAME,
        "description": "Sends the reason of every failed run to a webhook.",
        "enabled": True,
        "trigger": {
            "type": "event",
            "posture": "Reactive",
            "match": {"prefect.resource.id": "prefect.flow-run.*"},
            "match_related": {"prefect.resource.role": "flow", "prefect.resource.name": list(FLOWS)},
            "expect": ["prefect.flow-run.Failed"],
            "for_each": ["prefect.resource.id"],
            "threshold": 1,
            "within": 0,
        },
        "actions": [
            {"type": "send-notification", "block_document_id": block, "subject": SUBJECT, "body": body}
        ],
    }


def main(words: list[str]) -> int:
    """The command; returns its exit code."""
    if len(words) != 1:
        raise UserError("give the address of a webhook: python -m flows.notifications URL")
    notify_of_failures(words[0], Api.of_environment().ask)
    say(f"failures are sent there; the block and the automation are called {NAME}")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))
