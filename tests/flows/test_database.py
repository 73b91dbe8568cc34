"""Transactions of Prefect's server on SQLite that read and then write take turns, and none is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import sqlalchemy as sa
from prefect.server.database.configurations import AioSqliteConfiguration

from flows.database import InTurn

WRITERS = 6


async def readers_that_write(configuration: AioSqliteConfiguration) -> int:
    """So many transactions at once, each of which reads, rests and writes; the rows that come of it."""
    engine = await configuration.engine()
    async with engine.begin() as connection:
        await connection.execute(sa.text("CREATE TABLE rows (number INTEGER)"))

    async def one(number: int) -> None:
        async with await configuration.session(engine) as session, configuration.begin_transaction(session):
            await session.execute(sa.text("SELECT count(*) FROM rows"))
            await asyncio.sleep(0.02)
            await session.execute(sa.text("INSERT INTO rows VALUES (:number)"), {"number": number})

    await asyncio.gather(*map(one, range(WRITERS)))
    async with await configuration.session(engine) as session:
        return int((await session.execute(sa.text("SELECT count(*) FROM rows"))).scalar_one())


def test_all_are_written(tmp_path: Path) -> None:
    configuration = InTurn(connection_url=f"sqlite+aiosqlite:///{tmp_path / 'rows.db'}")
    assert asyncio.run(readers_that_write(configuration)) == WRITERS
