"""Nobody's Faces: a generator of video clips of people who do not exist, and of forgeries of them."""
