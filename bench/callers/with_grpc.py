"""gRPC: grpc.aio with protobuf messages, insecure, with a deadline for each call."""

from __future__ import annotations

from uuid import uuid4

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from protocol import arguments, call_and_tell, ready, run

options = arguments()
_FIELDS = {"HoldRequest": ("work_id", "cents"), "Hold": ("id", "work_id", "cents")}


def _messages() -> dict[str, type]:
    """The two messages, made without a compiler."""
    file = descriptor_pb2.FileDescriptorProto(name="payments.proto", package="payments", syntax="proto3")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for number, field in enumerate(fields, start=1):
            kind = (
                descriptor_pb2.FieldDescriptorProto.TYPE_INT64
                if field == "cents"
                else descriptor_pb2.FieldDescriptorProto.TYPE_STRING
            )
            label = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
            message.field.add(name=field, number=number, type=kind, label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"payments.{name}")) for name in _FIELDS}


_TYPES = _messages()
HoldRequest, Hold = _TYPES["HoldRequest"], _TYPES["Hold"]
HOLD = Hold(id=str(uuid4()), work_id=str(uuid4()), cents=100)


async def _find_hold(_request: object, _context: grpc.aio.ServicerContext) -> object:
    return HOLD


async def _serve() -> None:
    handler = grpc.unary_unary_rpc_method_handler(
        _find_hold, request_deserializer=HoldRequest.FromString, response_serializer=Hold.SerializeToString
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("payments.Payments", {"FindHold": handler}),))
    server.add_insecure_port(f"127.0.0.1:{options.port}")
    await server.start()
    ready()
    await server.wait_for_termination()


async def _call() -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{options.port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        find_hold = channel.unary_unary(
            "/payments.Payments/FindHold",
            request_serializer=HoldRequest.SerializeToString,
            response_deserializer=Hold.FromString,
        )
        work_id = str(uuid4())
        await call_and_tell(lambda: find_hold(HoldRequest(work_id=work_id, cents=100), timeout=30), options.count)


run(_serve() if options.action == "serve" else _call())
