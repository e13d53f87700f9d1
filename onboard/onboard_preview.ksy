meta:
  id: onboard_preview
  title: Packets of onboard-compress image previews
  file-extension: obp
  endian: be
  bit-endian: be
  license: MIT
doc: |
  A file is packets one after another. This describes the outer structure that FORMAT.md sections 2, 3.5 and 11.1 define;
  the symbols of sections are Huffman codes (section 5). CRC-32s are shown, not checked, and garbage between packets is not
  skipped.
doc-ref: onboard/FORMAT.md
seq:
  - id: packets
    type: packet
    repeat: eos
types:
  packet:
    seq:
      - id: magic
        type: b12
        valid: 0x0bc
      - id: version
        type: b4
        valid: 1
      - id: kind
        type: b4
        enum: kind
      - id: has_extensions
        type: b1
      - id: has_window
        type: b1
      - id: reserved_flags
        type: b2
        valid: 0
      - id: picture_id
        type: u2
      - id: tag
        type: u2
      - id: model_id
        type: u2
      - id: width
        type: u2
      - id: height
        type: u2
      - id: scale_log2
        type: b3
      - id: interleave_log2
        type: b2
      - id: colour
        type: b3
        enum: colour
      - id: index
        type: u1
      - id: length
        type: u2
        valid:
          min: 21
      - id: rest
        size: length - 21
        type: rest
      - id: crc32
        type: u4
  rest:
    seq:
      - id: window
        type: window
        if: _parent.has_window
      - id: extensions
        type: extension
        repeat: until
        repeat-until: _.type == 0
        if: _parent.has_extensions
      - id: sections
        type: section
        repeat: eos
        if: _parent.kind == kind::source
      - id: parity
        type: parity
        if: _parent.kind == kind::parity
      - id: unknown
        size-eos: true
        if: _parent.kind != kind::source and _parent.kind != kind::parity
  window:
    seq:
      - id: depth_minus_1
        type: b4
      - id: curve
        type: b3
        enum: curve
      - id: no_data
        type: b1
      - id: low
        type: u2
      - id: high
        type: u2
  extension:
    seq:
      - id: type
        type: u1
      - id: length
        type: u1
        if: type != 0
      - id: data
        size: length
        if: type != 0
  section:
    seq:
      - id: plane
        type: b4
      - id: layer
        type: b4
      - id: phase
        type: b2
      - id: has_length
        type: b1
      - id: first_extra
        type: b2
      - id: first_top
        type: b3
      - id: first_rest
        type: u1
        repeat: expr
        repeat-expr: first_extra
      - id: length
        type: u2
        if: has_length
      - id: payload
        size: 'has_length ? length : _io.size - _io.pos'
        type:
          switch-on: 'layer < 2'
          cases:
            true: base_payload
            false: layer_payload
    instances:
      first_block:
        value: >-
          first_extra == 0 ? first_top :
          first_extra == 1 ? (first_top << 8) + first_rest[0] :
          first_extra == 2 ? (first_top << 16) + (first_rest[0] << 8) + first_rest[1] :
          (first_top << 24) + (first_rest[0] << 16) + (first_rest[1] << 8) + first_rest[2]
  base_payload:
    doc: Layers 0 and 1.
    seq:
      - id: symbols
        size-eos: true
  layer_payload:
    doc: Layers 2 to 15, FORMAT.md section 11.1.
    seq:
      - id: reference
        type: b4
      - id: has_region
        type: b1
      - id: table_set
        type: b3
      - id: step
        type: u1
      - id: left
        type: u1
        if: has_region
      - id: span_minus_1
        type: u1
        if: has_region
      - id: symbols
        size-eos: true
  parity:
    seq:
      - id: group
        type: u1
      - id: index
        type: u1
      - id: source_count
        type: u1
      - id: parity_count
        type: u1
      - id: parity_bytes
        size-eos: true
enums:
  kind:
    0: source
    1: parity
    2: summary
  colour:
    0: grey
    1: ycbcr420
  curve:
    0: linear
    1: square_root
