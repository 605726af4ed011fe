"""What to ask: one module per topic, which verbs (data) and how to read the answer (a pure function)."""
