"""Corrections for testing many features at once."""

from __future__ import annotations

import numpy as np

from loopwright.sketch.binning import Floats


def benjamini_hochberg(pvalues: Floats) -> Floats:
    """Adjusted probabilities: rejecting those up to alpha has a false discovery rate of alpha.

    When nothing has drifted, that is the probability that anything is rejected. Benjamini and
    Hochberg, "Controlling the false discovery rate", J. R. Stat. Soc. B 1995; it holds for features
    that depend on each other positively too (Benjamini and Yekutieli 2001).
    """
    count = len(pvalues)
    order = np.argsort(pvalues, kind="stable")
    scaled = pvalues[order] * count / np.arange(1, count + 1)
    found = np.empty(count)
    # Never less than that of a smaller probability.
    found[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    clipped: Floats = np.minimum(found, 1.0)
    return clipped
