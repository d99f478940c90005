"""From a composed config to a trained, tested and recorded run."""
