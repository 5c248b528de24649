"""`reply_process` on a machine whose clock is TEST_SKEW seconds off."""

from __future__ import annotations

import asyncio
import datetime
import os
import time
from typing import Any

SKEW = float(os.environ["TEST_SKEW"])
_time, _datetime = time.time, datetime.datetime


class Skewed(_datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return _datetime.now(tz) + datetime.timedelta(seconds=SKEW)


# Before anything of the product is imported, so that all of it sees the wrong clock.
time.time = lambda: _time() + SKEW
datetime.datetime = Skewed

if __name__ == "__main__":
    from tests.chat.reply_process import main

    asyncio.run(main())
