"""Prefect's server on SQLite, with its writers one after the other.

Prefect opens most of its transactions as readers. Where one of them then writes, and another has written
since, SQLite refuses it at once ("database is locked"), whatever the time that writers may wait: what it has
read is no longer true. Whoever asks gets an error and asks again later. A transaction that says from the
start that it writes waits for its turn instead.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from prefect.server.database.configurations import AioSqliteConfiguration
from prefect.server.database.dependencies import MODELS_DEPENDENCIES
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction


class InTurn(AioSqliteConfiguration):
    """SQLite, where every transaction is a writer's."""

    @asynccontextmanager
    async def begin_transaction(
        self, session: AsyncSession, with_for_update: bool = False
    ) -> AsyncGenerator[AsyncSessionTransaction, None]:
        """Begin a transaction that waits for its turn to write, `with_for_update` or not."""
        async with super().begin_transaction(session, with_for_update=True) as transaction:
            yield transaction


def take_turns() -> None:
    """Let the server of this process write to SQLite in turn; Postgres is left as it is."""
    url = PREFECT_API_DATABASE_CONNECTION_URL.value()
    if url.startswith("sqlite"):
        MODELS_DEPENDENCIES["database_config"] = InTurn(connection_url=url)
