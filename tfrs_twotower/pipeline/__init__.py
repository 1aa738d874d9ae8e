"""From a recipe and its log to a run: its contents, evaluation, answers and exports."""
