//! JSON for C, by Zig's standard library, which comes with the compiler.

const std = @import("std");

/// The text of a field, in memory of its own; null where the object has no such text.
export fn json_text(object: [*]const u8, object_len: usize, field: [*:0]const u8, len: *usize) ?[*]u8 {
    const allocator = std.heap.c_allocator;
    const parsed = std.json.parseFromSlice(std.json.Value, allocator, object[0..object_len], .{}) catch return null;
    defer parsed.deinit();
    if (parsed.value != .object) return null;
    const value = parsed.value.object.get(std.mem.span(field)) orelse return null;
    if (value != .string) return null;
    // One byte more: an empty text has a place too.
    const copy = allocator.alloc(u8, value.string.len + 1) catch return null;
    @memcpy(copy[0..value.string.len], value.string);
    len.* = value.string.len;
    return copy.ptr;
}

/// The same text as JSON, with its quotes, in memory of its own; null where it is no text.
export fn json_quoted(text: [*]const u8, text_len: usize, len: *usize) ?[*]u8 {
    const quoted = std.json.Stringify.valueAlloc(std.heap.c_allocator, text[0..text_len], .{}) catch return null;
    len.* = quoted.len;
    return quoted.ptr;
}
