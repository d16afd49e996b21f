"""From a prompt to finished pictures: candidates, scores, selection, enlargement."""
