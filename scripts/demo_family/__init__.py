"""The demo family: a small Stable Diffusion, CLIP and SwinIR, trained from nothing on permissively licensed art."""
