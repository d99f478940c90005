"""What is drawn and computed from an atlas."""
