"""Frontal + lateral + report pre-training of chest X-ray encoders."""
