"""Local changes of the head that people differ in: parameter names, MakeHuman's changes, and their range."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LocalChange:
    """A parameter that moves MakeHuman's change `target`; names that begin with l- move both sides."""

    name: str
    target: str
    meaning: str
    reach: float = 0.55
    """Coefficient of the change at the ends of the parameter's range, -1 and 1."""
    middle: float = 0.0
    """Coefficient at the middle."""


def _c(name: str, target: str, meaning: str, reach: float = 0.55, middle: float = 0.0) -> LocalChange:
    return LocalChange(name, target, meaning, reach, middle)


LOCAL_CHANGES: tuple[LocalChange, ...] = (
    _c("head_width", "head-scale-horiz-incr", "narrow to wide head", 0.11, 0.28),
    _c("head_height", "head-scale-vert-incr", "low to high head", 0.10, -0.28),
    _c("head_depth", "head-scale-depth-incr", "flat to deep head", 0.11),
    _c("head_back", "head-back-scale-depth-incr", "flat to round back of the head", 0.25),
    _c("face_fat", "head-fat-incr", "lean to full face", 0.6),
    _c("forehead_height", "forehead-scale-vert-incr", "low to high forehead", 0.28),
    _c("forehead_forward", "forehead-trans-forward", "sloping to upright forehead", 0.5),
    _c("forehead_round", "forehead-nubian-incr", "flat to round forehead", 0.5),
    _c("temples", "forehead-temple-incr", "hollow to full temples", 0.6),
    _c("brow_angle", "eyebrows-angle-up", "outer ends of the brows down to up", 0.6),
    _c("brow_height", "eyebrows-trans-up", "low to high brows", 0.5),
    _c("brow_ridge", "eyebrows-trans-forward", "flat to strong ridge of the brows", 0.6),
    _c("eye_size", "l-eye-scale-incr", "small to large eyes", 0.45),
    _c("eye_spacing", "l-eye-trans-out", "eyes close together to far apart", 0.4),
    _c("eye_level", "l-eye-trans-up", "low to high eyes", 0.35),
    _c("eye_inner", "l-eye-corner1-up", "inner corners of the eyes down to up", 0.45),
    _c("eye_outer", "l-eye-corner2-up", "outer corners of the eyes down to up", 0.45),
    _c("eye_open_inner", "l-eye-height1-incr", "inner part of the eyes narrow to wide", 0.4),
    _c("eye_open_middle", "l-eye-height2-incr", "middle of the eyes narrow to wide", 0.4),
    _c("eye_open_outer", "l-eye-height3-incr", "outer part of the eyes narrow to wide", 0.4),
    _c("eye_deep_inner", "l-eye-push1-out", "inner corner deep to flat", 0.4),
    _c("eye_deep_outer", "l-eye-push2-out", "outer corner deep to flat", 0.4),
    _c("eye_fold", "l-eye-eyefold-up", "low to high fold of the upper lid", 0.5),
    _c("eye_fold_angle", "l-eye-eyefold-angle-up", "fold of the lid down to up at its outer end", 0.5),
    _c("epicanthus", "l-eye-epicanthus-out", "no to strong fold at the inner corner", 0.5),
    _c("eye_bag", "l-eye-bag-incr", "flat to full lower lids", 0.5),
    _c("eye_bag_height", "l-eye-bag-height-incr", "short to long lower lids", 0.45),
    _c("nose_length", "nose-scale-vert-incr", "short to long nose", 0.5),
    _c("nose_depth", "nose-scale-depth-incr", "flat to projecting nose", 0.5),
    _c("nose_width", "nose-scale-horiz-incr", "narrow to broad nose", 0.5),
    _c("nose_root", "nose-width1-incr", "narrow to broad root of the nose", 0.5),
    _c("nose_bridge", "nose-width2-incr", "narrow to broad bridge", 0.5),
    _c("nose_wings", "nose-width3-incr", "narrow to broad wings", 0.5),
    _c("nose_point", "nose-point-width-incr", "pointed to blunt tip", 0.5),
    _c("nose_tip", "nose-point-up", "tip down to up", 0.5),
    _c("nose_hump", "nose-hump-incr", "hollow to humped bridge", 0.5),
    _c("nose_curve", "nose-curve-convex", "concave to convex bridge", 0.5),
    _c("nose_greek", "nose-greek-incr", "deep to straight root", 0.5),
    _c("nose_flare", "nose-flaring-incr", "flat to flaring wings", 0.5),
    _c("nostril_width", "nose-nostrils-width-incr", "narrow to wide nostrils", 0.5),
    _c("nostril_angle", "nose-nostrils-angle-up", "nostrils down to up", 0.5),
    _c("nose_septum", "nose-septumangle-incr", "septum up to down", 0.5),
    _c("nose_base", "nose-base-up", "low to high base", 0.5),
    _c("nose_level", "nose-trans-up", "low to high nose", 0.4),
    _c("nose_volume", "nose-volume-incr", "fine to fleshy nose", 0.5),
    _c("mouth_width", "mouth-scale-horiz-incr", "narrow to wide mouth", 0.55),
    _c("mouth_height", "mouth-scale-vert-incr", "low to high mouth", 0.45),
    _c("mouth_depth", "mouth-scale-depth-incr", "flat to curved mouth", 0.45),
    _c("mouth_level", "mouth-trans-up", "low to high mouth", 0.4),
    _c("mouth_forward", "mouth-trans-forward", "set back to protruding mouth", 0.5),
    _c("mouth_corners", "mouth-angles-up", "corners at rest down to up", 0.4),
    _c("upper_lip", "mouth-upperlip-height-incr", "thin to thick upper lip", 0.55),
    _c("upper_lip_volume", "mouth-upperlip-volume-incr", "flat to full upper lip", 0.55),
    _c("upper_lip_width", "mouth-upperlip-width-incr", "narrow to wide upper lip", 0.45),
    _c("lower_lip", "mouth-lowerlip-height-incr", "thin to thick lower lip", 0.55),
    _c("lower_lip_volume", "mouth-lowerlip-volume-incr", "flat to full lower lip", 0.55),
    _c("lower_lip_width", "mouth-lowerlip-width-incr", "narrow to wide lower lip", 0.45),
    _c("cupids_bow", "mouth-cupidsbow-incr", "flat to deep cupid's bow", 0.5),
    _c("philtrum", "mouth-philtrum-volume-incr", "hollow to full philtrum", 0.5),
    _c("laugh_lines", "mouth-laugh-lines-out", "smooth to deep folds beside the mouth", 0.5),
    _c("cheek_volume", "l-cheek-volume-incr", "hollow to full cheeks", 0.55),
    _c("cheek_bones", "l-cheek-bones-incr", "flat to high cheekbones", 0.55),
    _c("cheek_inner", "l-cheek-inner-incr", "flat to full inner cheeks", 0.5),
    _c("chin_width", "chin-width-incr", "narrow to broad chin", 0.55),
    _c("chin_height", "chin-height-incr", "short to long chin", 0.5),
    _c("chin_forward", "chin-prominent-incr", "receding to prominent chin", 0.5),
    _c("jaw_bones", "chin-bones-incr", "soft to angular jaw", 0.55),
    _c("jaw_drop", "chin-jaw-drop-incr", "high to low corner of the jaw", 0.5),
    _c("jaw_forward", "chin-prognathism-incr", "overbite to underbite", 0.35),
    _c("ear_size", "l-ear-scale-incr", "small to large ears", 0.5),
    _c("ear_wing", "l-ear-wing-incr", "flat to protruding ears", 0.5),
    _c("ear_lobe", "l-ear-lobe-incr", "attached to hanging ear lobes", 0.6),
    _c("ear_turn", "l-ear-rot-forward", "ears leaning back to forward", 0.5),
    _c("neck_width", "neck-scale-horiz-incr", "thin to thick neck", 0.5),
    _c("double_chin", "neck-double-incr", "firm to soft under the chin", 0.5),
)
"""Every local change, in the order of its parameters."""
