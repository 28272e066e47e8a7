"""A key and a verifier for tests of authorisation."""

from __future__ import annotations

import pytest

from trenza.chassis.auth.keys import SigningKey
from trenza.chassis.auth.tokens import TokenVerifier
from trenza.chassis.testing.clock import ManualClock


@pytest.fixture(scope="session")
def key() -> SigningKey:
    """The platform's signing key."""
    return SigningKey.generate()


@pytest.fixture
def verifier(key: SigningKey, clock: ManualClock) -> TokenVerifier:
    """A verifier that trusts that key and follows the test's clock."""
    return TokenVerifier([key], clock=clock)
