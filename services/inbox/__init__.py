"""The clinicians' inbox: a list of AI results, live, and a page for each on which a human decides."""
