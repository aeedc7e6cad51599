"""What several studies share; none of these is a study."""
