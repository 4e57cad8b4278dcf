"""This process: signals that interrupt once or wait, standard streams that are closed or cannot show a character."""
