"""What turns data into the buyer's page and mail: texts, templates, headers. It reads no clock and calls nothing."""
