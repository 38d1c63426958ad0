"""Everything that looks at a training and changes none of its weights."""
