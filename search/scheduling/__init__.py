"""What to train next: values in, decisions out; no database, no clock, no Keras."""
