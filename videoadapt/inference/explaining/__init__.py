"""Where and when a model looked: maps over the frames of a clip, drawn on a sheet or on the film."""
