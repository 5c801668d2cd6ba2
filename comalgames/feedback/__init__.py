"""Feedback: how a learning rule sees a game, exactly, by samples, by labelled pairs or by sampled answers.

Every answer is a function of a key and the question alone, so runs with the same keys meet the same noise.
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
