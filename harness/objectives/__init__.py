"""Policy-gradient objectives as pure functions of ragged tensors: no model, no configuration object, no logging.

Layout. All policy tokens of a mini-batch lie one after the other, trajectory by trajectory, in tensors of shape [T].
A `Segmentation` cuts them into S segments, each inside one of B trajectories; a segment is what shares one importance
ratio. Three axes are kept apart: the ratio unit (`segments`), the reduction (`reductions`) and the clip band (`clip`).
`presets` says which published objective is which point. There is no padding anywhere, so nothing can depend on it.
"""
