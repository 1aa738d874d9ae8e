"""From a recipe and its log to a run: what it holds, what is measured, what it answers and exports."""
