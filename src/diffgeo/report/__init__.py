"""What people look at: figures drawn from results alone, without a model."""
