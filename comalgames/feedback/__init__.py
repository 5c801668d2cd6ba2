"""Feedback: the information about a game that a learning rule receives, exact or sampled.

The result of a query is a function of the key and the query alone, so that runs with equal keys have equal
noise.
"""

from comalgames.feedback.base import AbstractFeedback, Comparisons
from comalgames.feedback.candidates import Candidates
from comalgames.feedback.exact import Exact, Reward
from comalgames.feedback.recording import Asked, Known, Recording, Ties, asked
from comalgames.feedback.regressed import RegressedPairs
from comalgames.feedback.sampled import Sampled

__all__ = [
    "AbstractFeedback",
    "Asked",
    "Candidates",
    "Comparisons",
    "Exact",
    "Known",
    "Recording",
    "RegressedPairs",
    "Reward",
    "Sampled",
    "Ties",
    "asked",
]
