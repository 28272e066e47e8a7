"""noida-db, of which the part that speaks Kafka's protocol is started: a broker that keeps its messages."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path

from trenza.chassis.testing.brokers.kafka_server import KafkaServer, program_in

__all__ = ["Noida"]


_SAVE_SECONDS = 10.0


class Noida(KafkaServer):
    """Shows what outlives a broker. A member that dies without leaving its group keeps its partitions until a restart.

    See `Tansu` for that.
    """

    name = "Kafka (noida-db)"
    lasting = True
    keeps_the_dead = True

    def stop(self) -> None:
        """Have it save, and kill it: it saves once a second, after it has confirmed, and a SIGKILL alone loses that second."""
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_SAVE_SECONDS)
        super().stop()

    def command(self, port: int, folder: Path) -> list[str]:
        """Its program; the script of the same name would start it as a second process."""
        program = program_in("noida_db", "noida-db", distribution="noida-db")
        return [str(program), "start", "--only", "kafka", "--kafka-port", str(port), "--data-dir", str(folder / "data")]
