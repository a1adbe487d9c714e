"""From a decoded frame to a decision: model card, network, detector, crops and thresholds."""
