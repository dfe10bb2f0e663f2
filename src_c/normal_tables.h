/* normal_tables.h - written by tools/normal_tables.py, which tells what they are.
 * Constants first, each in two parts. */
#ifndef FD_NORMAL_TABLES_H
#define FD_NORMAL_TABLES_H

/* T(z) (z + 13/16) by (z - 5) / (z + 5). */
static const double fd_tail[25] = {
    0x1.c9d2de36b1e00p-2, 0x1.f2e626ee2f6f7p-56, -0x1.08d29f58f3650p-4, 0x1.2fad241dff3d0p-7,
    0x1.9c5a9373a49d7p-6, -0x1.21c87d81da13dp-5, 0x1.d9f0ec75a4dcdp-6, -0x1.142c6f7ee4e06p-6,
    0x1.c8a83611e10c6p-8, -0x1.c229e6058c7a3p-10, -0x1.23ad434598d8ap-16, 0x1.9624b91d42205p-13,
    -0x1.c334a3281aea7p-15, -0x1.75dc1cf329f74p-17, 0x1.37fe9c089a328p-17, 0x1.e246ede686ed2p-25,
    -0x1.6b4ed35addcc2p-20, 0x1.e7b8d80529f3ap-24, 0x1.b6297c07211a3p-23, -0x1.a2835ba2a2352p-26,
    -0x1.15bc6add30d59p-25, 0x1.ce4c75cd47cebp-29, 0x1.3f86cc34cca61p-28, -0x1.1c8ed6b97c73ep-32,
    -0x1.c3cc382de2ecfp-32,
};

/* The same to 2^-28. */
static const double fd_tail_single[14] = {
    0x1.c9d2de36b1e01p-2, -0x1.e41bbfa6b38c0p-56, -0x1.08d2a46ac52dfp-4, 0x1.2fad22161be6cp-7,
    0x1.9c5cce2c2db2dp-6, -0x1.21c86f6200880p-5, 0x1.d9dedbc5497bcp-6, -0x1.142d4dc8a66d5p-6,
    0x1.c9a5f9ff0f127p-8, -0x1.c1fbce2d53082p-10, -0x1.6eee79aefdf86p-15, 0x1.93e6d9cb06326p-13,
    -0x1.010df85abb818p-15, -0x1.5df7372504c7ep-17,
};

/* z / x by w - 3/2. */
static const double fd_quantile[26] = {
    0x1.c54ba7dbb52b6p+0, -0x1.02f079e1adcb8p-54, 0x1.6a9044bd7129fp-2, 0x1.46272efa4d599p-10,
    -0x1.83d783e1fed64p-9, 0x1.0777b990857cfp-12, 0x1.14462d7bf58d7p-15, -0x1.fde8f01264f73p-18,
    -0x1.8b44b4e1c712dp-24, 0x1.6577400f74de6p-23, -0x1.5f6e7574e7d42p-27, -0x1.8892fa07fdfd0p-29,
    0x1.d6b4a3a97ee19p-32, 0x1.1b802395aa5d9p-35, -0x1.9e05e9e2fb37ep-37, 0x1.05fe0847a9b9ap-43,
    0x1.1fb07858a8d94p-42, -0x1.6fc3b2ea72ab5p-46, -0x1.49f3a513447fdp-48, 0x1.e722195f619f1p-51,
    0x1.0d6258bb23100p-54, -0x1.56457fa44e703p-55, 0x1.b57c926a78a4cp-58, -0x1.2d95062b14019p-61,
    0x1.cbad45b153cacp-66, -0x1.33294645ba9c7p-71,
};

/* The same to 2^-28. */
static const double fd_quantile_single[14] = {
    0x1.c54ba7df656aap+0, 0x1.77ab9f5715dd5p-54, 0x1.6a90447d668a4p-2, 0x1.46267d1999c76p-10,
    -0x1.83d6fa1844a61p-9, 0x1.077c3ba696083p-12, 0x1.1416061998133p-15, -0x1.fe4cc774c2f66p-18,
    -0x1.54d69629e9409p-24, 0x1.6128ab2d5f1f0p-23, -0x1.b081d053c2b21p-27, -0x1.e84f2833a5187p-30,
    0x1.86027caf6f4dap-32, -0x1.38c02aa4739ffp-36,
};

/* (Phi(z) - 1/2) / z by z^2 - 1/8. */
static const double fd_centre[10] = {
    0x1.9029d1c8c7b4bp-2, -0x1.da82b3f518abep-56, -0x1.065b226fc7977p-4, 0x1.389280bc04ff7p-7,
    -0x1.288036df2b8fep-10, 0x1.cc0d765f389e9p-14, -0x1.2c98991dbcec0p-17, 0x1.52b2712a1e2bcp-21,
    -0x1.4f2c51c447318p-25, 0x1.27818543157fdp-29,
};

#endif
