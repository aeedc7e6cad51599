"""What the names of metrics mean, and how the tables of a page head their columns."""

MEANINGS = {
    "precision": "change of the target over the mean change of the other attributes, |Δa_t| / mean |Δa_j|",
    "precision_own": "the same with the attribute that this edit itself moves most as its target, which flatters",
    "precision_gain": "precision less that of random directions on the same samples; above 0 is better than random",
    "precision_gain_matched": "the same over the edits that were brought to the common change alone",
    "dependency_mean": "mean change of the attributes that are not the target, in standard deviations; low is good",
    "dependency_max": "largest change of an attribute that is not the target, in standard deviations; low is good",
    "local_success": "share of edits that move exactly one attribute by a standard deviation or more and every other "
    "one by less than half of that (study.disentanglement.moved and .still)",
    "transfer_success": "share of edits that move, on a sample left out, the attribute that they move on the others, "
    "the same way",
    "effect_disentanglement": "whether each direction moves one attribute (D of DCI on the mean effects); 0 to 1",
    "effect_completeness": "whether each attribute is moved by one direction (C of DCI on the mean effects); 0 to 1",
    "effect_gap": "how far the direction that moves an attribute most is ahead of the second, as a share; 0 to 1",
    "effect_vote": "share of samples in which a direction moves most what it moves most in the others; 0 to 1",
    "matched": "share of edits that could be brought to the common perceptual change",
    "gamma": "length of the step along the direction, γ",
    "x_change": "how far the latent moved, ‖Δx‖",
    "change": "perceptual change of the picture",
    "ssim": "structural similarity of the edited to the unedited picture; 1 is equal",
    "psnr": "peak signal-to-noise ratio of the edited to the unedited picture, in dB; higher is closer",
    "clipped_change": "change of the share of values at black or white; above 0 is damage",
    "chroma_change": "change of the mean chroma; far from 0 is damage",
    "contrast_change": "change of the contrast, the standard deviation of the luminance",
    "off_target": "mean change of the attributes that are not the edit's target; low is good",
    "off_data": "root mean square distance of pixel values to the nearest portrait of the renderer; low is good",
    "residual_change": "change of the error with which the network removes a little noise; above 0 is damage",
    "locality": "share of the change that lies outside the mask where the attribute shows; low is good",
    "transferred": "share of edits that are a local success and move the same attribute of the next sample alike",
    "transfer": "cosine of the changes of attributes here and on the next sample, of one direction",
    "best_match": "|cos| of a direction and the one most like it among another sample's, mean over directions; 1 is "
    "shared",
    "effective_dimension": "(Σ s²)² / Σ s⁴ of the leading n directions: n if all count alike, 1 if one alone does",
    "tangent_share": "share of the data's true tangent space that the leading directions hold; 1 is all of it",
    "condition": "s_1 / s_n, the largest singular value over the n-th: 1 for an isometry",
    "log_spread": "standard deviation of log s: 0 for an isometry",
    "shared": "‖UᵀU'‖²_F / n, the share of a sample's leading n directions of h that another sample's span; 1 is all",
    "gain": "log of the precision of edits over that of edits along random directions; above 0 is better than random",
    "vitality": "perceptual change of x̂0 if the block is skipped",
    "identity": "cosine of the two pictures' embeddings in a face network (metric.identity); 1 is the same person",
    "s_dir": "cosine of the change of the picture and of the words for the target, both in CLIP",
    "dci_d": "disentanglement: whether each direction's code predicts one attribute; 0 to 1 (Eastwood & Williams 2018)",
    "dci_c": "completeness: whether each attribute is predicted by one code; 0 to 1 (Eastwood & Williams 2018)",
    "dci_i": "informativeness: how well the codes predict the attributes of pictures left out; 1 is exactly",
    "mig": "mutual information gap: lead of an attribute's most informative code over the second; 0 to 1",
    "sap": "separated attribute predictability: lead of an attribute's most predictive code over the second",
    "factor_vae": "share of groups with one attribute held fixed that are told by the code that varies least",
}
"""Name of a metric, as columns of tables and rows of the scorecard have it → what it is, in a few words."""

HEADINGS = {
    "local_success": "local success",
    "precision": "edit precision",
    "ssim": "SSIM",
    "locality": "share outside the mask",
    "off_data": "distance from the data",
    "residual_change": "denoising residual",
}
"""Name of a metric → heading of its column."""
