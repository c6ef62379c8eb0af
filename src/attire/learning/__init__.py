"""Learning from reviewers' decisions in about a minute: new heads, calibrated, and compared with those before."""
