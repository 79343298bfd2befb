"""Distillation: the old network's answers are the teacher."""
