"""Configurations of other gateways, made from what the services declare and where the deployment runs them."""

from trenza.chassis.runtime.gateway_configs.aws import aws_config, aws_notes
from trenza.chassis.runtime.gateway_configs.kong import KongLimits, kong_config, kong_notes

__all__ = ["KongLimits", "aws_config", "aws_notes", "kong_config", "kong_notes"]
