"""From images back to latents for generators that were trained without an encoder."""
