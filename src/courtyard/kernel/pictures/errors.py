"""What can be wrong with a picture."""

from courtyard.kernel.errors import Problem, Unavailable


class PictureRefused(Problem):
    """The picture is damaged, has too many pixels or frames, or takes too long: `reason` says which."""

    code = "picture_refused"
    status = 422
    title = "The picture cannot be used"


class TooManyPictures(Unavailable):
    """This server works on as many pictures as it can."""

    code = "too_many_pictures"
    title = "Too many pictures at once"
