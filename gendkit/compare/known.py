"""What is known about settings: how likely each moves the AUROC, and why."""

import re

LEVELS = ((80, "very likely"), (55, "likely"), (30, "possible"), (0, "unlikely"))

# What a fact is called, how likely it moves the AUROC (0 to 100), and why; the first that fits
# counts. Source: own judgement, after the questions of users that the documentation collects:
# compression, crop margin and the number of frames explain most of "my number is lower".
KNOWN = (
    (r"labels", 100, "A video that is real here and fake there counts against the detector in one "
     "of the two."),
    (r"record", 85, "A record that was written for another file says nothing about this one."),
    (r"videos|data\.(sets|methods|roles)", 90, "Other videos are other questions: an AUROC holds "
     "for the set it was measured on."),
    (r"data\.(compression|codec)", 85, "Compression removes the traces a detector reads: "
     "FaceForensics++ at c40 is far harder than at c23 or raw."),
    (r"(test\.)?(level|aggregate)|.*\.(level|aggregate)", 85, "Videos score higher than frames, "
     "because the mean over frames removes noise."),
    (r"(test\.)?(model|run|experiment|adapter)|n_trained|view\..*(backbone|head|tune|weights).*",
     88, "Another model gives other scores."),
    (r"frames( scored)?|(spec\.)?(rule|n_frames|stride|limit)|view\..*n_frames", 65,
     "More frames, or frames from elsewhere in the video, change the mean over a video: 270 in "
     "place of 32 has moved published numbers by points."),
    (r"spec\.scale|.*crop_scale", 75, "The margin decides how much of the blending border is in the "
     "picture; a detector expects the one it was trained on."),
    (r"spec\.engine\.(detector|engine)", 72, "Another detector finds other faces and puts the box "
     "elsewhere."),
    (r"spec\.engine\.landmarks", 60, "Other landmarks turn and scale each crop a little differently."),
    (r"spec\.policy", 60, "With several people in the picture it may be another face that is cut, "
     "and a real face of a fake video is label noise."),
    (r"coverage", 58, "Frames without a crop are not scored; they are often the hard ones."),
    (r"spec\.size", 55, "Another side resamples every crop before the model resamples it again."),
    (r"spec\.engine\.(weights|detector)_sha256", 50, "The network has other weights under the "
     "same name."),
    (r"spec\.engine\.threshold", 45, "A lower threshold cuts faces, and non-faces, that the other "
     "run left out."),
    (r"spec\.interpolation", 45, "Interpolation smooths or sharpens the traces of a forgery."),
    (r"spec\.engine\.track", 35, "Followed boxes lie a little elsewhere than detected ones."),
    (r"spec\.engine\..*", 35, "This setting moves some boxes or landmarks by pixels."),
    (r"(config\.)?seed", 50, "Another seed is another training run; the spread over seeds is often "
     "larger than the difference between methods."),
    (r"profile", 80, "A profile is another size of model, data and training."),
    (r"(config|view)\..*|n_fit|n_select|epochs|best_epoch", 60, "The model was trained in another "
     "way."),
    (r"threshold.*|test\.threshold.*", 20, "A threshold changes accuracies, not the AUROC."),
    (r"code\.versions\.(transformers|av|dlib-bin|face-alignment|opencv-python)", 25,
     "Decoding, detection, resampling and preprocessing can change from version to version."),
    (r"code\.versions\.(torch|pillow|numpy|peft)", 12, "Rounding in the last digits."),
    (r"code\.versions\..*", 4, "This package is not on the way from video to score."),
    (r"code\.(commit|dirty)", 20, "The code is another; see the history between the two."),
    (r"machine\..*|device", 8, "Another machine rounds differently in the last digits."),
)  # fmt: skip
OTHER = (30, "Recorded differently; what it does to the score is not known here.")
# Facts that say when or where, not how.
SKIPPED = re.compile(
    r"(.*\.)?(started|seconds|sha256|fingerprint|loaded|folder|file|format|path)|n_rows|best\..*|"
    r"report.*|select_.*|table.*|stopped_early|.*\.false_alarms|.*\.hits|machine\.memory_gb"
)
