"""Rate limits: named policies, how they are counted, and what holds when the shared store is away.

Stands on the keys, the settings and telemetry. Knows nothing of HTTP: the edges say who asks, and tell the answer.
"""

from courtyard.kernel.limits.counting import Limits, Standing
from courtyard.kernel.limits.errors import TooManyRequests
from courtyard.kernel.limits.policies import Policy, Subject, declared_policies, faults_of, key_of

__all__ = [
    "Limits",
    "Policy",
    "Standing",
    "Subject",
    "TooManyRequests",
    "declared_policies",
    "faults_of",
    "key_of",
]
