"""A sweep: many trainings that differ in some parameters, compared, the best taken."""
