"""Hours of opening and of shifts: weeks, holidays and exceptions in a time zone."""

from courtyard.kernel.calendar.rules import HORIZON, Hours, OpenSpan
from courtyard.kernel.calendar.schemas import Calendar, Span, SpecialDay, TimeZone, Week, is_time_zone

__all__ = ["HORIZON", "Calendar", "Hours", "OpenSpan", "Span", "SpecialDay", "TimeZone", "Week", "is_time_zone"]
