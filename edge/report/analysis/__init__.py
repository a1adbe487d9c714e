"""What is worked out of a survey: events, effort, abundance, activity, camera health."""
