"""How the shipped models were trained: resumable loops that depend on a seed and a step number only."""
