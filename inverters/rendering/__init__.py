"""Volume rendering of tri-planes: cameras, rays, the reference renderer, the compiled one.

`fused.render_rays` is what others call; `reference` is its specification in plain torch.
No generator and no loss.
"""
