"""From numbers to a verdict: bars, null sets, variants of a claim."""
